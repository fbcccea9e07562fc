"""Reading rows of reports from CSV and Parquet.

The heading names the columns of `reports`, in English or Chinese, in any order; report_id,
kind, value and category must be there. Files are UTF-8, with or without byte order mark;
one in Big5 (CP950, as older Windows writes) is recognised and read, and said to be so. An
unknown column stops the file, since nobody could say what was left out; its name is not
repeated, because a file without heading has a person in its place.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from clients.feed.defects import Refusal
from protocols.errors import InvalidTableError

FIELDS = (
    "report_id", "kind", "value", "category", "source", "status", "first", "last", "slot", "use",
)  # fmt: skip
REQUIRED = ("report_id", "kind", "value", "category")
BIG5_NOTE = "the file is in Big5 (CP950) and was read as such; export it as UTF-8 to be sure"
_ALIASES = {name: name for name in FIELDS} | {
    "案號": "report_id",
    "通報編號": "report_id",
    "種類": "kind",
    "識別碼": "value",
    "值": "value",
    "類別": "category",
    "手法": "category",
    "來源": "source",
    "狀態": "status",
    "起": "first",
    "首次": "first",
    "訖": "last",
    "末次": "last",
    "角色": "slot",
    "用途": "use",
}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")

Row = tuple[int, dict[str, str] | Refusal]


def read_text(data: bytes) -> tuple[str, str]:
    """Decode a CSV file; returns the text and what to say about its encoding, if anything.

    Raises:
        InvalidTableError: neither UTF-8 nor Big5.
    """
    if data[:2] in _UTF16 or b"\0" in data[:4096]:
        raise InvalidTableError(
            "file: it is UTF-16 or no text; save it as “CSV UTF-8” and give it again"
        )
    try:
        return data.decode("utf-8-sig"), ""
    except UnicodeDecodeError as error:
        at = error.start
    for encoding in ("cp950", "big5hkscs"):
        try:
            return data.decode(encoding), BIG5_NOTE
        except UnicodeDecodeError:
            continue
    raise InvalidTableError(
        f"file: neither UTF-8 nor Big5 (first at byte {at}); save it as “CSV UTF-8”"
    )


def csv_rows(text: str) -> Iterator[Row]:
    """Give the rows of a CSV text as fields by name; a row of wrong width is a refusal.

    Raises:
        InvalidTableError: the heading cannot be used, or the quoting is broken.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    row = 0
    try:
        names = heading(next(reader, []))
        for cells in reader:
            if not cells:
                continue
            row += 1
            if len(cells) != len(names):
                yield (
                    row,
                    Refusal(
                        row, "row", f"{len(cells)} fields under {len(names)} columns",
                        "quote fields that hold a comma, and export again",
                    ),
                )  # fmt: skip
                continue
            yield row, dict(zip(names, cells, strict=True))
    except csv.Error:
        raise InvalidTableError(
            f"file: after row {row} its quoting is broken; export it again"
        ) from None


def parquet_rows(path: Path) -> Iterator[Row]:
    """Give the rows of a Parquet file as fields by name; dates as ISO text.

    Raises:
        InvalidTableError: it cannot be read, or a column is not of text or dates.
    """
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError):
        raise InvalidTableError("file: cannot be read as Parquet; export it again") from None
    names = heading(frame.columns)
    for name, column in zip(names, frame.iter_columns(), strict=True):
        # A number has lost its leading zeros, and could hit another person.
        if column.dtype not in (pl.String, pl.Date, pl.Datetime, pl.Null):
            raise InvalidTableError(f"column {name}: must be text; export it as text")
    for row, cells in enumerate(frame.cast(pl.String).iter_rows(), 1):
        yield row, {name: cell or "" for name, cell in zip(names, cells, strict=True)}


def heading(cells: list[str]) -> list[str]:
    """Return the fields that a heading names, in its order.

    Raises:
        InvalidTableError: by position, what cannot be used; never by its text.
    """
    if not any(cell.strip() for cell in cells):
        raise InvalidTableError(f"heading: there is none; begin with {','.join(FIELDS)}")
    names = []
    for at, cell in enumerate(cells, 1):
        plain = unicodedata.normalize("NFKC", cell).strip().lower().replace(" ", "_")
        if plain not in _ALIASES:
            raise InvalidTableError(
                f"heading: column {at} has no known name; use {','.join(FIELDS)}"
            )
        names.append(_ALIASES[plain])
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InvalidTableError(f"heading: {twice} stands twice; remove one")
    missing = next((name for name in REQUIRED if name not in names), None)
    if missing:
        raise InvalidTableError(f"heading: {missing} is missing; add the column")
    return names
