"""The budget statement: what was spent of every scope, added up again from the log alone.

Every charge that stands in an entry counts, also that of an act which failed: a release
that may have happened has happened. A charge counts in each scope that it names, and once
in the scope over all recipients of the same data, as in the ledger. What open runs have set
aside is not in the log, so a ledger may say that less is left, never that more is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from compliance.agreement.coverage import ledger_caps
from compliance.agreement.document import Agreement
from compliance.entries import EVERY_RECIPIENT, Scope
from compliance.ledger import Cap
from compliance.spending import Tally, price, tally
from protocols.dp.neighbours import Neighbours
from protocols.tlog.entry import Charge, Entry


@dataclass(frozen=True, slots=True)
class Spent:
    """One scope of the statement.

    Args:
        epsilon: the price of all charges at `delta`, never below the truth.
        cap: by the agreement; None if it names none.
    """

    scope: Scope
    runs: tuple[str, ...]
    charges: int
    epsilon: float
    delta: float
    cap: float | None

    @property
    def is_over(self) -> bool:
        """Whether more was spent than was agreed."""
        return self.cap is not None and not self.epsilon <= self.cap

    @property
    def left(self) -> float | None:
        """How much epsilon stands under the cap; None where there is no cap."""
        return None if self.cap is None else max(0.0, self.cap - self.epsilon)

    def fields(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "cohort": self.scope.cohort,
            "dataset": self.scope.dataset,
            "recipient": self.scope.recipient,
            "runs": list(self.runs),
            "charges": self.charges,
            "epsilon": self.epsilon,
            "delta": self.delta,
            "cap": self.cap,
            "left": self.left,
            "over": self.is_over,
        }


@dataclass(slots=True)
class _Sum:
    spent: Tally = field(default_factory=Counter)
    runs: dict[str, None] = field(default_factory=dict)
    charges: int = 0

    def add(self, charge: Charge) -> None:
        """Count one charge."""
        self.spent += tally(charge.event)
        self.runs[charge.run] = None
        self.charges += 1


def statement(
    entries: Iterable[Entry],
    *,
    delta: float,
    agreement: Agreement | None = None,
    neighbours: Neighbours = Neighbours.ZERO_OUT_ONE_PERSON,
) -> list[Spent]:
    """Add up all charges, over all logs in which there are any, by scope.

    Args:
        delta: for scopes to which the agreement sets no cap.
        agreement: sets caps and delta for the others.
    """
    sums: dict[Scope, _Sum] = {}
    for entry in entries:
        if entry.charge is None:
            continue
        named = {Scope(*names) for names in entry.charge.scopes}
        for scope in named | {scope.over_recipients for scope in named}:
            sums.setdefault(scope, _Sum()).add(entry.charge)
    caps = _caps(agreement, sums)
    return [
        _spent(scope, sums[scope], caps.get(scope), delta, neighbours) for scope in sorted(sums)
    ]


def _caps(agreement: Agreement | None, scopes: Iterable[Scope]) -> Mapping[Scope, Cap]:
    if agreement is None:
        return {}
    found: dict[Scope, Cap] = {}
    for cohort, dataset in sorted({(scope.cohort, scope.dataset) for scope in scopes}):
        found |= ledger_caps(agreement, cohort=cohort, owner=dataset)
    return found


def _spent(
    scope: Scope, total: _Sum, cap: Cap | None, delta: float, neighbours: Neighbours
) -> Spent:
    used = delta if cap is None else cap.delta
    return Spent(
        scope=scope,
        runs=tuple(total.runs),
        charges=total.charges,
        epsilon=price(total.spent, used, neighbours),
        delta=used,
        cap=None if cap is None else cap.epsilon,
    )


def recipient_text(scope: Scope) -> str:
    """Name the recipient of a scope for people."""
    return "all recipients" if scope.recipient == EVERY_RECIPIENT else scope.recipient
