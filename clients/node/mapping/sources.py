"""Rows of a CSV or Parquet file as the node reads them: every cell of a CSV file as text.

Whatever is said about a file names columns and rules. A file without a heading is refused
without repeating what stands in its place, since that is a person.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from clients.node.mapping.looks import is_heading
from protocols.errors import InvalidTableError

_HALF = 0.5
_REPEATED = "_duplicated_"


@dataclass(frozen=True, slots=True)
class Rows:
    """A table that was read.

    Args:
        unreadable: columns that are not in the frame, and why.
    """

    frame: pl.DataFrame = field(repr=False)
    unreadable: Mapping[str, str] = field(default_factory=dict)


def read_file(path: Path) -> Rows:
    """Read a file by its ending.

    Raises:
        InvalidTableError: it cannot be used; names the rule and the cure.
    """
    try:
        match path.suffix:
            case ".parquet":
                frame = pl.read_parquet(path)
            case ".csv":
                # Guessing a type would turn an identifier into a number.
                frame = pl.read_csv(path, infer_schema=False)
            case _:
                raise InvalidTableError(
                    f"table: a file ending in {path.suffix or 'nothing'}; give .parquet or .csv, "
                    "or a table's name with --url-env or --url-file"
                )
    except FileNotFoundError:
        raise InvalidTableError("table: there is no such file; correct the path") from None
    except (pl.exceptions.PolarsError, OSError):
        # Not `from error`: the reader's own text may repeat the row at which it stopped.
        raise InvalidTableError(
            "table: the file cannot be read; export it again, a CSV as UTF-8 with as many fields "
            "in every row as in the heading"
        ) from None
    check_headings(frame.columns)
    return Rows(frame)


def check_headings(names: list[str]) -> None:
    """Refuse a table whose first row of data stands in place of the heading.

    Raises:
        InvalidTableError: says how many names cannot be any.
    """
    wrong = [at for at, name in enumerate(names, 1) if name.strip() and not is_heading(name)]
    numbers = sum(_is_number(name) for name in names)
    if wrong or numbers > _HALF * len(names):
        at = wrong[0] if wrong else 1
        raise InvalidTableError(
            f"heading: column {at} is named like a row of data; put the names of the columns "
            "into the first row"
        )


def is_repeated(name: str) -> bool:
    """Whether a heading stands twice, as the reader of CSV files marks it."""
    return _REPEATED in name


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True
