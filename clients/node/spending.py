"""The node's budget: which scopes a run touches, and what its releases cost there.

What may be learned is capped twice, by the agreement and by the standing policy; the stricter
of the two holds in every scope. Without an agreement in force there is no cap, and what has
none cannot be reserved; what was reserved before can still be paid and closed.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from clients.node.home import Home
from compliance.agreement.coverage import ledger_caps
from compliance.agreement.document import Agreement
from compliance.backup.settled import check_settled
from compliance.charges import COHORT
from compliance.entries import Scope
from compliance.ledger import Cap, Ledger
from protocols.vertical.budget import run_event
from protocols.vertical.plan import TrainingPlan

__all__ = ["COHORT", "caps_of", "open_ledger", "reading", "reserve", "scopes"]


def scopes(home: Home, plan: TrainingPlan) -> tuple[Scope, ...]:
    """Return the scopes of a run: this node's table, towards each other partner of the run."""
    ours = home.config().name
    return tuple(Scope(COHORT, ours, name) for name in plan.names if name != ours)


def caps_of(home: Home, agreement: Agreement | None) -> Mapping[Scope, Cap]:
    """Return the caps that hold here: the stricter of agreement and standing policy in each scope.

    Args:
        agreement: the one in force.
    """
    if agreement is None:
        return {}
    policy = home.policy()
    agreed = ledger_caps(agreement, cohort=COHORT, owner=home.config().name)
    return {
        scope: Cap(min(cap.epsilon, policy.cap_epsilon), min(cap.delta, policy.max_delta))
        for scope, cap in agreed.items()
    }


@contextmanager
def open_ledger(home: Home, agreement: Agreement | None = None) -> Iterator[Ledger]:
    """Open the ledger; without an agreement it pays and tells, and reserves nothing.

    Args:
        agreement: the one in force.
    """
    ledger = Ledger(home.ledger, caps_of(home, agreement))
    try:
        yield ledger
    finally:
        ledger.close()


@contextmanager
def reading(home: Home, caps: Mapping[Scope, Cap]) -> Iterator[Ledger]:
    """Open the ledger under these caps to look; a node that never had a run has an empty one."""
    with tempfile.TemporaryDirectory() as nowhere:
        # Not by `home.ledger`, which makes the directory: looking changes nothing.
        path = home.root / "ledger" / "budget.journal"
        ledger = Ledger(path if path.exists() else Path(nowhere) / path.name, caps)
        try:
            yield ledger
        finally:
            ledger.close()


def reserve(home: Home, plan: TrainingPlan, agreement: Agreement | None) -> None:
    """Set aside all that the run may release about the people in our table.

    Raises:
        BudgetExhaustedError: a cap does not allow it; nothing was reserved.
        NotPermittedError: no agreement in force names a cap for somebody in the plan.
        RestoredError: the node was put back from a backup, and that is not settled.
    """
    check_settled(home.root)
    event = run_event(plan, home.config().name)
    with open_ledger(home, agreement) as ledger:
        ledger.reserve(plan.run, scopes(home, plan), event, int(time.time()))
