"""Reading a column of identifiers, a million at a time.

Numbers in the form in which nearly all of them are written are checked as whole columns;
the rest goes through `protocols.identifiers` one by one. Both give the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from protocols.errors import InvalidTableError
from protocols.identifiers import (
    IdentifierKind,
    InvalidIdentifierError,
    canonicalize,
    national_checksum,
)

_PERSON_SIZE = 10
_PERSON_SHAPES = {
    IdentifierKind.TW_NATIONAL_ID: "[12]",
    IdentifierKind.TW_RESIDENT_NUMBER: "[89]",
    IdentifierKind.TW_PERSON_ID: "[1289]",
}
_MOBILE_SHAPE = r"^09[0-9]{8}$"
_FIRST_RESIDENT = ord("8")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of identifiers in canonical form.

    Shapes:
        values: every row as it was written; canonical and rows: the valid ones, in order.
    """

    values: pl.Series = field(repr=False)
    canonical: list[bytes] = field(repr=False)
    rows: NDArray[np.int64] = field(repr=False)

    @property
    def malformed(self) -> int:
        """Return how many rows hold no identifier of the kind."""
        return len(self.values) - len(self.canonical)


def load_column(path: Path, name: str, kind: IdentifierKind) -> Column:
    """Read one column of a .csv or .parquet file.

    Raises:
        InvalidTableError: names the column, the rule and the cure; never a value.
    """
    values = _read(path, name)
    if values.dtype != pl.String:
        raise InvalidTableError(f"column {name}: identifiers must be text; export them as text")
    return canonicalize_column(values, kind)


def canonicalize_column(values: pl.Series, kind: IdentifierKind) -> Column:
    """Bring a column into canonical form; rows that hold no identifier are left out."""
    plain, quick = np.zeros(len(values), np.bool_), list[bytes | None]()
    if kind in _PERSON_SHAPES:
        plain = _matches(values, f"^[A-Z]{_PERSON_SHAPES[kind]}[0-9]{{8}}$")
        quick = _persons(values.filter(plain))
    elif kind is IdentifierKind.PHONE:
        plain = _matches(values, _MOBILE_SHAPE)
        quick = _mobiles(values.filter(plain))
    found: list[bytes | None] = [None] * len(values)
    for row, item in zip(np.flatnonzero(plain).tolist(), quick, strict=True):
        found[row] = item
    for row in np.flatnonzero(~plain).tolist():
        found[row] = _canonical(kind, values[row])
    rows = [row for row, item in enumerate(found) if item is not None]
    return Column(values, [item for item in found if item is not None], np.array(rows, np.int64))


def _canonical(kind: IdentifierKind, value: str | None) -> bytes | None:
    try:
        return None if value is None else canonicalize(kind, value)
    except InvalidIdentifierError:
        return None


def _read(path: Path, name: str) -> pl.Series:
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path, columns=[name])[name]
        if path.suffix == ".csv":
            # As text: guessing a type would turn an identifier into a number.
            return pl.read_csv(path, columns=[name], infer_schema=False)[name]
    except FileNotFoundError as error:
        raise InvalidTableError("table: there is no such file; correct the path") from error
    except pl.exceptions.ColumnNotFoundError as error:
        raise InvalidTableError(
            f"column {name}: the table does not have it; correct --column"
        ) from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InvalidTableError("table: the file cannot be read; export it again") from error
    raise InvalidTableError(
        f"table: a file ending in {path.suffix or 'nothing'}; give .parquet or .csv"
    )


def _matches(values: pl.Series, shape: str) -> NDArray[np.bool_]:
    return values.str.contains(shape).fill_null(value=False).to_numpy()


def _persons(values: pl.Series) -> list[bytes | None]:
    """Check numbers of the plain form; those whose check digit does not fit give None."""
    digits = _matrix(values, _PERSON_SIZE)
    sums = _LETTER_SUMS[digits[:, 0] - ord("A")] + (digits[:, 1:] - ord("0")) @ _WEIGHTS
    heads = _HEADS[(digits[:, 1] >= _FIRST_RESIDENT).astype(np.intp)]
    found = _split(np.hstack([heads, digits]))
    for row in np.flatnonzero(sums % 10).tolist():
        found[row] = None
    return found


def _mobiles(values: pl.Series) -> list[bytes | None]:
    digits = _matrix(values, _PERSON_SIZE)[:, 1:]
    heads = np.broadcast_to(_MOBILE_HEAD, (len(digits), len(_MOBILE_HEAD)))
    return _split(np.hstack([heads, digits]))


def _matrix(values: pl.Series, size: int) -> NDArray[np.uint8]:
    joined = "".join(values.to_list()).encode()
    return np.frombuffer(joined, np.uint8).reshape(-1, size)


def _split(matrix: NDArray[np.uint8]) -> list[bytes | None]:
    size, joined = matrix.shape[1], matrix.tobytes()
    return [joined[at : at + size] for at in range(0, len(joined), size)]


def _head(kind: IdentifierKind, value: str, size: int) -> NDArray[np.uint8]:
    """Return what stands before the last `size` bytes of a canonical form."""
    return np.frombuffer(canonicalize(kind, value)[:-size], np.uint8)


def _valid(first: str) -> str:
    """Return some number with a right check digit that begins so."""
    head = first + "0" * (_PERSON_SIZE - 1 - len(first))
    return f"{head}{-national_checksum(head[0], head[1:] + '0') % 10}"


# All of this follows from `protocols.identifiers`, so that the two cannot drift apart.
_ZEROS = "0" * (_PERSON_SIZE - 1)
_LETTER_SUMS = np.array([national_checksum(chr(65 + at), _ZEROS) for at in range(26)], np.int64)
_WEIGHTS = np.array(
    [
        (national_checksum("A", f"{_ZEROS[:at]}1{_ZEROS[at + 1 :]}") - _LETTER_SUMS[0]) % 10
        for at in range(_PERSON_SIZE - 1)
    ],
    np.int64,
)
_HEADS = np.stack(
    [
        _head(IdentifierKind.TW_NATIONAL_ID, _valid("A1"), _PERSON_SIZE),
        _head(IdentifierKind.TW_RESIDENT_NUMBER, _valid("A8"), _PERSON_SIZE),
    ]
)
_MOBILE_HEAD = _head(IdentifierKind.PHONE, "0900000000", 9)
