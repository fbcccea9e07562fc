"""Whether rows keep a contract: counts by column, and never a value.

The proof is over what a run would read: where it holds, `clients.node.table.load_table` takes
the same rows. Malformed and double identifiers are left out of a run and counted; only where
too many are, the column is taken for another kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from compliance.configuration import ConfigError
from protocols.align.table import DefectPolicy, read_identifiers
from protocols.identifiers import IdentifierKind
from protocols.vertical.contract import Category, Contract, Numeric

SAMPLE = 1_000
# With more malformed identifiers than this the kind is wrong, or the export.
MAX_MALFORMED = 0.05
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class ColumnProof:
    """What was counted in one column.

    Args:
        missing: rows without a value; `undeclared` if the contract does not let it be so.
        outside: of the range; unknown: no level of the contract; unreadable: no number, or
            not 0 or 1 for a label.
        malformed, duplicates: identifiers, by the rules of their kind.
        rules: malformed identifiers by the rule that they break.
        problem: why the column cannot be used at all.
    """

    name: str
    role: str
    declared: str
    rows: int
    missing: int = 0
    undeclared: bool = False
    outside: int = 0
    unknown: int = 0
    unreadable: int = 0
    malformed: int = 0
    duplicates: int = 0
    rules: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""

    @property
    def broken(self) -> int:
        """Count the rows for which a run would stop."""
        return self.outside + self.unknown + self.unreadable + self.missing * self.undeclared

    @property
    def holds(self) -> bool:
        """Whether the column keeps the contract."""
        return not self.problem and not self.broken

    def fields(self) -> dict[str, Any]:
        """Return the JSON form."""
        names = ("missing", "outside", "unknown", "unreadable", "malformed", "duplicates")
        return {
            "column": self.name,
            "role": self.role,
            "rows": self.rows,
            "holds": self.holds,
            **{name: getattr(self, name) for name in names},
            "rules": dict(self.rules),
            "problem": self.problem,
        }


@dataclass(frozen=True, slots=True)
class Proof:
    """What was counted in a table."""

    rows: int
    columns: tuple[ColumnProof, ...]

    @property
    def holds(self) -> bool:
        """Whether a run would take these rows."""
        return self.rows > 0 and all(column.holds for column in self.columns)

    @property
    def broken(self) -> tuple[ColumnProof, ...]:
        """Return the columns that do not hold."""
        return tuple(column for column in self.columns if not column.holds)

    def fields(self) -> dict[str, Any]:
        """Return the JSON form."""
        columns = [column.fields() for column in self.columns]
        return {"rows": self.rows, "holds": self.holds, "columns": columns}


def kind_of(contract: Contract) -> IdentifierKind:
    """Return the kind of a contract's identifiers.

    Raises:
        ConfigError: there is no such kind.
    """
    try:
        return IdentifierKind(contract.identifier_kind)
    except ValueError as error:
        known = ", ".join(IdentifierKind)
        raise ConfigError(
            f"contract.identifier.kind: must be one of {known}; correct it"
        ) from error


def sample_of(frame: pl.DataFrame) -> pl.DataFrame:
    """Return rows from all over a table, always the same ones."""
    step = max(1, -(-frame.height // SAMPLE))
    return frame.gather_every(step)


def prove(
    frame: pl.DataFrame,
    contract: Contract,
    *,
    held_out_column: str | None = None,
    progress: Progress | None = None,
) -> Proof:
    """Count in every column of a contract what keeps it and what does not.

    Raises:
        ConfigError: the contract names a kind of identifier that there is not.
    """
    flags = [name for name in (contract.label, held_out_column) if name is not None]
    tasks: list[Callable[[], ColumnProof]] = [
        partial(_identifiers, frame, contract),
        *(partial(_flags, frame, name) for name in flags),
        *(partial(_column, frame, column) for column in contract.columns),
    ]
    found = []
    for done, task in enumerate(tasks, 1):
        found.append(task())
        if progress is not None:
            progress("proving columns", done, len(tasks))
    return Proof(frame.height, tuple(found))


def _identifiers(frame: pl.DataFrame, contract: Contract) -> ColumnProof:
    name, kind = contract.identifier, kind_of(contract)
    start = _started(frame, name, "identifier", kind.value)
    if start.problem:
        return start
    series = frame[name]
    if series.dtype != pl.String and not (
        kind is IdentifierKind.OPAQUE and series.dtype.is_integer()
    ):
        return _with(start, problem="must be text; export identifiers as text")
    report = read_identifiers(
        series.cast(pl.String).fill_null("").to_list(),
        kind,
        malformed=DefectPolicy.DROP,
        duplicates=DefectPolicy.DROP,
    ).report
    missing, malformed = series.null_count(), len(report.malformed)
    problem = ""
    if malformed > MAX_MALFORMED * frame.height:
        problem = "too many identifiers break their kind's rules; correct the kind or the export"
    return _with(
        start,
        missing=missing,
        malformed=malformed - missing,
        duplicates=len(report.duplicates),
        rules=report.rules,
        problem=problem,
    )


def _flags(frame: pl.DataFrame, name: str) -> ColumnProof:
    """Prove a label, or the column that fixes the held-out people: 0 or 1 in every row."""
    start = _started(frame, name, "label", "0 or 1")
    if start.problem:
        return start
    values, unread = _numbers(frame[name])
    if values is None:
        return _with(start, problem="is no column of numbers; convert it in the export")
    absent = np.isnan(values)
    wrong = ~absent & (values != 0) & (values != 1)
    return _with(
        start,
        missing=int(absent.sum()) - unread,
        undeclared=True,
        unreadable=int(wrong.sum()) + unread,
    )


def _column(frame: pl.DataFrame, column: Numeric | Category) -> ColumnProof:
    match column:
        case Numeric():
            start = _started(
                frame, column.name, "numeric", f"{column.low:,.10g} to {column.high:,.10g}"
            )
            return start if start.problem else _numeric(frame[column.name], column, start)
        case Category():
            levels = f"{len(column.levels)} levels"
            start = _started(frame, column.name, "category", levels)
            return start if start.problem else _category(frame[column.name], column, start)


def _numeric(series: pl.Series, column: Numeric, start: ColumnProof) -> ColumnProof:
    values, unread = _numbers(series)
    if values is None:
        return _with(start, problem="is no column of numbers; convert it in the export")
    absent = np.isnan(values)
    inside = (values >= column.low) & (values <= column.high)
    return _with(
        start,
        missing=int(absent.sum()) - unread,
        undeclared=not column.missing,
        outside=int((~absent & ~inside).sum()),
        unreadable=unread,
    )


def _category(series: pl.Series, column: Category, start: ColumnProof) -> ColumnProof:
    if series.dtype.is_nested() or series.dtype == pl.Binary:
        return _with(start, problem="holds no levels; convert it in the export")
    levels = series.cast(pl.String)
    known = int(levels.is_in(list(column.levels)).sum())
    missing = levels.null_count()
    return _with(
        start,
        missing=missing,
        undeclared=not column.missing,
        unknown=series.len() - missing - known,
    )


def _numbers(series: pl.Series) -> tuple[NDArray[np.float64] | None, int]:
    """Return numbers with NaN where there is none, and how many values are none."""
    unread = 0
    if series.dtype == pl.String:
        stripped = series.str.strip_chars().replace("", None)
        numbers = stripped.cast(pl.Float64, strict=False)
        unread = numbers.null_count() - stripped.null_count()
    elif series.dtype.is_numeric() or series.dtype in (pl.Boolean, pl.Null):
        numbers = series.cast(pl.Float64)
    else:
        return None, 0
    return numbers.fill_null(np.nan).to_numpy().astype(np.float64), unread


def _started(frame: pl.DataFrame, name: str, role: str, declared: str) -> ColumnProof:
    problem = "" if name in frame.columns else "the table does not have it; add it"
    return ColumnProof(name, role, declared, frame.height, problem=problem)


def _with(start: ColumnProof, **changes: Any) -> ColumnProof:
    return replace(start, **changes)
