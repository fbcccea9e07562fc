"""Reading a partner's own table against its feature contract.

CSV and Parquet alike become plain numpy columns. Every defect is reported by column,
rule, cure, count and row number; no value of a person ever enters a message. Row 1 is the
first row of data, below the heading.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from protocols.errors import InvalidTableError
from protocols.identifiers import IdentifierKind
from protocols.vertical.contract import (
    MISSING_LEVEL,
    UNKNOWN_LEVEL,
    Category,
    Contract,
    Numeric,
    check_category,
    check_label,
    check_numeric,
    table_defect,
)


@dataclass(frozen=True, slots=True)
class Table:
    """A table that keeps its contract.

    Shapes:
        identifiers: rows texts; each column: (rows,), float64 with NaN for a missing number
        or int64 level codes with -1 for a missing level; labels, held_out: (rows,) or None.
    """

    contract: Contract
    identifiers: list[str] = field(repr=False)
    columns: dict[str, NDArray[np.float64] | NDArray[np.int64]] = field(repr=False)
    labels: NDArray[np.float64] | None = field(repr=False)
    held_out: NDArray[np.bool_] | None = field(repr=False)

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return len(self.identifiers)

    def taken(self, rows: NDArray[np.int64]) -> Table:
        """Return the table of the given rows, in the given order."""
        return Table(
            self.contract,
            [self.identifiers[row] for row in rows],
            {name: values[rows] for name, values in self.columns.items()},
            None if self.labels is None else self.labels[rows],
            None if self.held_out is None else self.held_out[rows],
        )


def load_table(path: Path, contract: Contract, *, held_out_column: str | None = None) -> Table:
    """Read and check a table.

    Args:
        held_out_column: a 0/1 column that replaces the choice by pseudonym hash; for
            benchmarks whose split is given.

    Raises:
        InvalidTableError: names the column, the rule and the cure.
    """
    frame = _read(path)
    needed = [contract.identifier, *(column.name for column in contract.columns)]
    extra = [name for name in (contract.label, held_out_column) if name is not None]
    for name in needed + extra:
        if name not in frame.columns:
            raise InvalidTableError(
                f"column {name}: the table does not have it; add it or correct the mapping"
            )
    if frame.height == 0:
        raise InvalidTableError("table: it has no rows; check the export")
    columns = {column.name: _column(frame, column) for column in contract.columns}
    labels = None if contract.label is None else _numbers(frame, contract.label)
    if labels is not None and contract.label is not None:
        check_label(contract.label, labels)
    flags = None if held_out_column is None else _numbers(frame, held_out_column)
    if flags is not None and held_out_column is not None:
        check_label(held_out_column, flags)
    return Table(
        contract,
        _identifiers(frame, contract),
        columns,
        labels,
        None if flags is None else flags == 1,
    )


def _read(path: Path) -> pl.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path)
        if path.suffix == ".csv":
            # Everything as text first: guessing a type would turn an identifier into a number.
            return pl.read_csv(path, infer_schema=False)
    except FileNotFoundError as error:
        raise InvalidTableError("table: there is no such file; correct the path") from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InvalidTableError("table: the file cannot be read; export it again") from error
    raise InvalidTableError(
        f"table: a file ending in {path.suffix or 'nothing'}; give .parquet or .csv"
    )


def _column(
    frame: pl.DataFrame, column: Numeric | Category
) -> NDArray[np.float64] | NDArray[np.int64]:
    if isinstance(column, Numeric):
        values = _numbers(frame, column.name)
        check_numeric(column, values)
        return values
    if frame[column.name].dtype.is_nested():
        raise InvalidTableError(
            f"column {column.name}: its type is {frame[column.name].dtype}, not a level; "
            "convert it in the export"
        )
    series = frame[column.name].cast(pl.String)
    positions = {level: code for code, level in enumerate(column.levels)}
    codes = series.replace_strict(positions, default=UNKNOWN_LEVEL, return_dtype=pl.Int64)
    absent = series.is_null().to_numpy()
    found = codes.to_numpy().astype(np.int64)
    found[absent] = MISSING_LEVEL
    check_category(column, found)
    return found


def _identifiers(frame: pl.DataFrame, contract: Contract) -> list[str]:
    series = frame[contract.identifier]
    plain = series.dtype == pl.String or (
        # Whole numbers that an agreement defines itself are what they look like. Any other
        # identifier has lost its leading zeros as a number, and could hit another person.
        contract.identifier_kind == IdentifierKind.OPAQUE and series.dtype.is_integer()
    )
    if not plain:
        raise InvalidTableError(
            f"column {contract.identifier}: identifiers must be text; export them as text"
        )
    return series.cast(pl.String).fill_null("").to_list()


def _numbers(frame: pl.DataFrame, name: str) -> NDArray[np.float64]:
    series = frame[name]
    if series.dtype == pl.String:
        stripped = series.str.strip_chars().replace("", None)
        numbers = stripped.cast(pl.Float64, strict=False)
        wrong = (numbers.is_null() & stripped.is_not_null()).to_numpy()
        if wrong.any():
            raise table_defect(name, wrong, "is not a number", "correct the export")
    elif series.dtype.is_numeric() or series.dtype in (pl.Boolean, pl.Null):
        numbers = series.cast(pl.Float64)
    else:
        # A date would turn into a number of days without a word.
        raise InvalidTableError(
            f"column {name}: its type is {series.dtype}, not a number; convert it in the export"
        )
    return numbers.fill_null(np.nan).to_numpy().astype(np.float64)
