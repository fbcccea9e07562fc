"""The feature contract: what may not be guessed from data.

Names, kinds, public ranges, levels and whether a value may be missing are agreed before
anybody looks at a row, so that neither a bin edge nor a level betrays a person. A table
is checked against its contract before it is encoded; a defect names the column, the
rule and the cure, with counts and row numbers, never a value. Row 1 is the first row
of data, below any heading.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.errors import InvalidTableError, UnsupportedParameterError

MAX_COLUMNS = 4096
MAX_LEVELS = 512
SHOWN_ROWS = 3
# Codes beside the positions of the levels.
MISSING_LEVEL = -1
UNKNOWN_LEVEL = -2


@dataclass(frozen=True, slots=True)
class Numeric:
    """A number in the public range [low, high]."""

    name: str
    low: float
    high: float
    missing: bool = False

    def __post_init__(self) -> None:
        # The width is divided by, so it must be finite as well.
        if not (self.low < self.high and math.isfinite(self.high - self.low)):
            raise UnsupportedParameterError(
                f"column {self.name}: range needs finite low < high; correct the contract"
            )


@dataclass(frozen=True, slots=True)
class Category:
    """One of a public list of levels."""

    name: str
    levels: tuple[str, ...]
    missing: bool = False

    def __post_init__(self) -> None:
        if not 1 <= len(self.levels) <= MAX_LEVELS or len(set(self.levels)) != len(self.levels):
            raise UnsupportedParameterError(
                f"column {self.name}: 1 to {MAX_LEVELS} different levels are needed; "
                "correct the contract"
            )


Column = Numeric | Category


@dataclass(frozen=True, slots=True)
class Contract:
    """The columns of one party, its identifier column and, for one party, its label."""

    columns: tuple[Column, ...]
    identifier: str = "id"
    identifier_kind: str = "opaque"
    label: str | None = None

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise UnsupportedParameterError("contract: a column is named twice; name each once")
        if len(names) > MAX_COLUMNS:
            raise UnsupportedParameterError(
                f"contract: {len(names)} columns, at most {MAX_COLUMNS}; choose fewer"
            )
        if self.identifier in names or (self.label is not None and self.label in names):
            raise UnsupportedParameterError(
                "contract: identifier and label may not be features; remove them from columns"
            )
        if self.label == self.identifier:
            raise UnsupportedParameterError(
                "contract: the identifier may not be the label; name two columns"
            )

    @classmethod
    def parse(cls, value: Any) -> Contract:
        """Read a contract from its JSON form; unknown or missing fields are refused.

        Raises:
            UnsupportedParameterError: names the field, the rule and the cure.
        """
        fields = _object(value, "contract", {"identifier", "label", "columns"})
        identifier = _object(fields["identifier"], "contract.identifier", {"column", "kind"})
        columns = fields["columns"]
        if not isinstance(columns, list):
            raise UnsupportedParameterError("contract.columns: must be a list of columns")
        label = fields["label"]
        if label is not None and not isinstance(label, str):
            raise UnsupportedParameterError("contract.label: must be a column name or null")
        return cls(
            columns=tuple(_parse_column(column, index) for index, column in enumerate(columns)),
            identifier=_text(identifier["column"], "contract.identifier.column"),
            identifier_kind=_text(identifier["kind"], "contract.identifier.kind"),
            label=label,
        )

    def format(self) -> dict[str, Any]:
        """Return the JSON form that `parse` reads."""
        return {
            "identifier": {"column": self.identifier, "kind": self.identifier_kind},
            "label": self.label,
            "columns": [_format_column(column) for column in self.columns],
        }

    def narrowed(self, names: frozenset[str]) -> Contract:
        """Return this contract with only the named columns, in the same order."""
        unknown = names - {column.name for column in self.columns}
        if unknown:
            raise UnsupportedParameterError(
                f"columns: {len(unknown)} not in the contract ({min(unknown)}); "
                "name agreed columns only"
            )
        kept = tuple(column for column in self.columns if column.name in names)
        return Contract(kept, self.identifier, self.identifier_kind, self.label)


def check_numeric(column: Numeric, values: NDArray[np.float64]) -> None:
    """Refuse values outside the public range, infinities, and undeclared missing values."""
    absent = np.isnan(values)
    if absent.any() and not column.missing:
        raise table_defect(
            column.name, absent, "has no value", "declare it missing in the contract or fill it"
        )
    with np.errstate(invalid="ignore"):
        outside = ~absent & ~((values >= column.low) & (values <= column.high))
    if outside.any():
        rule = f"is outside the contract's range {column.low:g} to {column.high:g}"
        raise table_defect(
            column.name, outside, rule, "clip it at the source or agree a wider range"
        )


def check_category(column: Category, codes: NDArray[np.int64]) -> None:
    """Refuse levels outside the public list (code -2) and undeclared missing values (code -1)."""
    unknown = (codes < MISSING_LEVEL) | (codes >= len(column.levels))
    if unknown.any():
        raise table_defect(
            column.name, unknown, "is not a level of the contract", "map it or agree the level"
        )
    absent = codes == MISSING_LEVEL
    if absent.any() and not column.missing:
        raise table_defect(
            column.name, absent, "has no value", "declare it missing in the contract or fill it"
        )


def check_label(name: str, values: NDArray[np.float64]) -> None:
    """Refuse labels other than 0 and 1."""
    wrong = ~((values == 0) | (values == 1))
    if wrong.any():
        raise table_defect(name, wrong, "is not 0 or 1", "label every row with 0 or 1")


def table_defect(name: str, where: NDArray[np.bool_], rule: str, cure: str) -> InvalidTableError:
    """Return the error that tells a column's defect; row 1 is the first row of data."""
    rows = np.flatnonzero(where)
    shown = ", ".join(str(row + 1) for row in rows[:SHOWN_ROWS])
    more = " and others" if len(rows) > SHOWN_ROWS else ""
    return InvalidTableError(
        f"column {name}: {len(rows)} rows where the value {rule} (rows {shown}{more}); {cure}"
    )


def _parse_column(value: Any, index: int) -> Column:
    where = f"contract.columns[{index}]"
    if not isinstance(value, dict) or value.get("kind") not in ("numeric", "category"):
        raise UnsupportedParameterError(f"{where}: needs a kind, numeric or category")
    if value["kind"] == "numeric":
        fields = _object(value, where, {"name", "kind", "low", "high", "missing"})
        low, high = _number(fields["low"], f"{where}.low"), _number(fields["high"], f"{where}.high")
        return Numeric(
            _text(fields["name"], f"{where}.name"),
            low,
            high,
            _flag(fields["missing"], f"{where}.missing"),
        )
    fields = _object(value, where, {"name", "kind", "levels", "missing"})
    levels = fields["levels"]
    if not isinstance(levels, list) or not all(isinstance(level, str) for level in levels):
        raise UnsupportedParameterError(f"{where}.levels: must be a list of texts")
    return Category(
        _text(fields["name"], f"{where}.name"),
        tuple(levels),
        _flag(fields["missing"], f"{where}.missing"),
    )


def _format_column(column: Column) -> dict[str, Any]:
    if isinstance(column, Numeric):
        return {
            "name": column.name,
            "kind": "numeric",
            "low": column.low,
            "high": column.high,
            "missing": column.missing,
        }
    return {
        "name": column.name,
        "kind": "category",
        "levels": list(column.levels),
        "missing": column.missing,
    }


def _object(value: Any, where: str, names: set[str]) -> Mapping[str, Any]:
    if not isinstance(value, dict) or set(value) != names:
        raise UnsupportedParameterError(
            f"{where}: needs exactly the fields {', '.join(sorted(names))}"
        )
    return value


def _number(value: Any, where: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise UnsupportedParameterError(f"{where}: must be a number; correct the contract")
    try:
        return float(value)
    except OverflowError as error:
        raise UnsupportedParameterError(f"{where}: too large; correct the contract") from error


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise UnsupportedParameterError(f"{where}: must be true or false; correct the contract")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise UnsupportedParameterError(f"{where}: must be a text that is not empty")
    return value
