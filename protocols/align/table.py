"""Read a partner's column of identifiers: what can be aligned, and what stands in the way.

Defects are told by count and row number, never by value: the report is shown to operators
and kept. Row 1 is the first row of data, in every report and message.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from protocols.errors import InvalidTableError
from protocols.identifiers import IdentifierKind, InvalidIdentifierError, canonicalize

SHOWN_ROWS = 5


class DefectPolicy(StrEnum):
    """What to do with a row that cannot be aligned."""

    REFUSE = "refuse"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class IdentifierReport:
    """What was found in a column, without a value of it; row 1 is the first row of data."""

    rows: int
    malformed: tuple[int, ...]
    duplicates: tuple[int, ...]  # every occurrence after the first
    rules: Mapping[str, int]  # how many malformed rows broke which rule

    @property
    def kept(self) -> int:
        """How many rows can be aligned."""
        return self.rows - len(self.malformed) - len(self.duplicates)

    def describe(self) -> str:
        """Return one line for the operator."""
        parts = [f"{self.kept} of {self.rows} rows kept"]
        if self.malformed:
            broken = ", ".join(f"{count} x {rule}" for rule, count in sorted(self.rules.items()))
            parts.append(f"{_listed('malformed', self.malformed)}: {broken}")
        if self.duplicates:
            parts.append(_listed("duplicate", self.duplicates))
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class IdentifierColumn:
    """The canonical identifiers of a table and the rows where they stand."""

    identifiers: tuple[bytes, ...] = field(repr=False)
    rows: NDArray[np.int64] = field(repr=False)
    report: IdentifierReport


def read_identifiers(
    values: Iterable[object],
    kind: IdentifierKind,
    *,
    column: str = "id",
    malformed: DefectPolicy = DefectPolicy.REFUSE,
    duplicates: DefectPolicy = DefectPolicy.REFUSE,
) -> IdentifierColumn:
    """Bring a column into canonical form.

    Args:
        values: one per row of the table; None where the table has none.
        kind: what the column holds.
        column: its name, for the error message.
        malformed: what to do with values that are missing or break the rules of `kind`.
        duplicates: what to do with further rows of a person; `DROP` keeps the first.

    Raises:
        InvalidTableError: a defect that is to be refused, by count and row number.
    """
    bad: list[int] = []
    repeated: list[int] = []
    rules: Counter[str] = Counter()
    first: dict[bytes, int] = {}
    total = 0
    for row, value in enumerate(values):
        total = row + 1
        try:
            identifier = _canonical(kind, value)
        except InvalidIdentifierError as error:
            bad.append(row + 1)
            rules[error.rule] += 1
            continue
        if first.setdefault(identifier, row) != row:
            repeated.append(row + 1)
    report = IdentifierReport(total, tuple(bad), tuple(repeated), dict(rules))
    refused = (bad and malformed is DefectPolicy.REFUSE) or (
        repeated and duplicates is DefectPolicy.REFUSE
    )
    if refused:
        raise InvalidTableError(
            f"column {column!r}: {report.describe()}; correct the rows, or let them be dropped"
        )
    return IdentifierColumn(tuple(first), np.array(list(first.values()), dtype=np.int64), report)


def _canonical(kind: IdentifierKind, value: object) -> bytes:
    if value is None:
        raise InvalidIdentifierError(kind, "missing")
    if not isinstance(value, str):
        # A number has lost its leading zeros; guessing them could hit another person.
        raise InvalidIdentifierError(kind, "expected text, not a number")
    return canonicalize(kind, value)


def _listed(what: str, rows: tuple[int, ...]) -> str:
    shown = ", ".join(str(row) for row in rows[:SHOWN_ROWS])
    more = " and others" if len(rows) > SHOWN_ROWS else ""
    return f"{len(rows)} {what} (rows {shown}{more})"
