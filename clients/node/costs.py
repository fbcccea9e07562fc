"""What a run has cost at this node, by its ledger; writes nothing.

reserved  all that its plan may release is set aside, and nothing is paid yet
charged   something is paid, and the rest is still set aside
settled   it has ended: what was paid stays paid, the rest is free again
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from clients.node.home import Home
from clients.node.spending import reading
from compliance.ledger import Ledger
from compliance.ledger import Run as Kept
from protocols.vertical.plan import TrainingPlan

PLAN = "plan.json"
_RECORD = "record.json"


class State(StrEnum):
    """How far the payment of a run has come."""

    RESERVED = "reserved"
    CHARGED = "charged"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run has cost towards each of its recipients; they see the same releases.

    Args:
        epsilon: of all its charges together, at `delta`, which is that of its plan.
        most: epsilon that the plan allows it; None where the plan is not here.
        plan_hash: empty where the plan is not here.
        releases: how many charges there are.
        reserved_at, first_at, last_at, settled_at: Unix seconds of the reservation, the first
            and the last charge, and the end; None where there was none.
    """

    run: str
    state: State
    epsilon: float
    delta: float
    most: float | None
    plan_hash: str = ""
    recipients: tuple[str, ...] = ()
    releases: int = 0
    reserved_at: int | None = None
    first_at: int | None = None
    last_at: int | None = None
    settled_at: int | None = None

    def fields(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "run": self.run,
            "state": self.state.value,
            "epsilon": self.epsilon,
            "delta": self.delta,
            "plan_epsilon": self.most,
            "plan_hash": self.plan_hash or None,
            "recipients": list(self.recipients),
            "releases": self.releases,
            "reserved_at": self.reserved_at,
            "first_charged_at": self.first_at,
            "last_charged_at": self.last_at,
            "settled_at": self.settled_at,
        }


def cost_of(directory: Path, run: str) -> Cost | None:
    """Return what a run has cost here; None for one that may still begin, or never came.

    Raises:
        ConfigError: the node's files are wrong.
        MalformedMessageError: the name is none of a run.
    """
    home = Home(directory)
    plan = accepted_plan(home, run)
    with reading(home, {}) as ledger:
        kept = ledger.run(run)
        if kept is not None:
            return _cost(home, ledger, run, kept, plan)
    if plan is None or not (home.run(run) / _RECORD).exists():
        return None
    # It ended, such as for the lack of a partner, before anything was set aside.
    return Cost(run, State.SETTLED, 0.0, plan.delta, plan.epsilon, plan.digest.hex())


def accepted_plan(home: Home, run: str) -> TrainingPlan | None:
    """Return the plan that this node accepted for a run, whether it has ended or not."""
    path = home.run(run) / PLAN
    return TrainingPlan.decode(path.read_bytes()) if path.exists() else None


def _cost(home: Home, ledger: Ledger, run: str, kept: Kept, plan: TrainingPlan | None) -> Cost:
    # A ledger that was made up for after a restore knows runs whose plans are lost.
    delta = home.policy().max_delta if plan is None else plan.delta
    times = [charge.now for charge in kept.charges]
    state = State.CHARGED if times else State.RESERVED
    return Cost(
        run,
        state if kept.is_open else State.SETTLED,
        ledger.cost(run, delta),
        delta,
        None if plan is None else plan.epsilon,
        "" if plan is None else plan.digest.hex(),
        tuple(sorted(scope.recipient for scope in kept.scopes)),
        len(times),
        reserved_at=kept.since,
        first_at=min(times, default=None),
        last_at=max(times, default=None),
        settled_at=kept.closed_at,
    )
