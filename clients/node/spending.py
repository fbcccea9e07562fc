"""The node's budget: which scopes a run touches, and what its releases cost there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from clients.node.home import Home
from compliance.entries import Scope
from compliance.ledger import Cap, Ledger
from protocols.vertical.budget import run_event
from protocols.vertical.plan import TrainingPlan

COHORT = "people"


def scopes(home: Home, plan: TrainingPlan) -> tuple[Scope, ...]:
    """Return the scopes of a run: this node's table, towards each other partner of the run."""
    ours = home.config().name
    return tuple(Scope(COHORT, ours, name) for name in plan.names if name != ours)


@contextmanager
def open_ledger(home: Home, plan: TrainingPlan) -> Iterator[Ledger]:
    """Open the ledger with the caps of the standing policy."""
    policy = home.policy()
    cap = Cap(policy.cap_epsilon, policy.max_delta)
    wanted = scopes(home, plan)
    caps = dict.fromkeys((*wanted, *(scope.over_recipients for scope in wanted)), cap)
    ledger = Ledger(home.ledger, caps)
    try:
        yield ledger
    finally:
        ledger.close()


def reserve(home: Home, plan: TrainingPlan) -> None:
    """Set aside all that the run may release about the people in our table.

    Raises:
        BudgetExhaustedError: a cap does not allow it; nothing was reserved.
    """
    event = run_event(plan, home.config().name)
    with open_ledger(home, plan) as ledger:
        ledger.reserve(plan.run, scopes(home, plan), event, int(time.time()))
