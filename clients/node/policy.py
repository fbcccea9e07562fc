"""The standing policy: which runs this partner takes part in without asking anyone.

Everything a run would do here is compared with what the partner allows, and the first
rule that it breaks is the reason of the refusal. With `decide: hand` a run that breaks
no rule still waits for a person.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protocols.errors import UnsupportedParameterError
from protocols.vertical.contract import Contract
from protocols.vertical.plan import HUB, TrainingPlan

_FIELDS = {
    "purposes", "max_epsilon", "max_delta", "max_steps", "min_rows", "membership",
    "columns", "hub_computes", "decide", "cap_epsilon",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Policy:
    """What this partner allows.

    Attributes:
        purposes: IRIs of allowed purposes.
        max_epsilon, max_delta: of one run; cap_epsilon: of all runs together, by the ledger.
        columns: the columns that may be used, or None for all of the contract.
        hub_computes: whether the hub may stand in as a compute party.
        decide: `policy` or `hand`.
    """

    purposes: tuple[str, ...]
    max_epsilon: float
    max_delta: float
    cap_epsilon: float
    max_steps: int
    min_rows: int
    membership: tuple[str, ...]
    columns: frozenset[str] | None
    hub_computes: bool
    decide: str

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Policy:
        """Read the JSON form; unknown or missing fields are refused.

        Raises:
            UnsupportedParameterError: names the field, the rule and the cure.
        """
        if set(value) != _FIELDS:
            raise UnsupportedParameterError(
                f"needs exactly the fields {', '.join(sorted(_FIELDS))}"
            )
        for name in ("max_epsilon", "max_delta", "cap_epsilon", "max_steps", "min_rows"):
            number = value[name]
            if isinstance(number, bool) or not isinstance(number, int | float) or not number > 0:
                raise UnsupportedParameterError(f"{name}: must be a number greater than 0")
        if value["decide"] not in ("policy", "hand"):
            raise UnsupportedParameterError("decide: must be policy or hand")
        columns = value["columns"]
        return cls(
            purposes=tuple(value["purposes"]),
            max_epsilon=value["max_epsilon"],
            max_delta=value["max_delta"],
            cap_epsilon=value["cap_epsilon"],
            max_steps=value["max_steps"],
            min_rows=value["min_rows"],
            membership=tuple(value["membership"]),
            columns=None if columns == "all" else frozenset(columns),
            hub_computes=value["hub_computes"] is True,
            decide=value["decide"],
        )

    def objection(
        self, plan: TrainingPlan, *, ours: str, peers: Mapping[str, str], contract: Contract
    ) -> tuple[str, str] | None:
        """Return the code and reason of the first rule that a plan breaks, or None.

        Args:
            peers: pinned identity keys by name.
            contract: our own feature contract.
        """
        partner = plan.partner(ours)
        known = {column.name for column in contract.columns}
        if plan.purpose not in self.purposes:
            return "purpose", "the purpose is not among those that this partner allows"
        if plan.epsilon > self.max_epsilon:
            return (
                "epsilon",
                f"epsilon {plan.epsilon:g} is over this partner's {self.max_epsilon:g} a run",
            )
        if plan.delta > self.max_delta:
            return "delta", f"delta {plan.delta:g} is over this partner's {self.max_delta:g}"
        if plan.steps > self.max_steps:
            return "steps", f"{plan.steps} steps are over this partner's {self.max_steps}"
        if plan.min_rows < self.min_rows:
            return (
                "min_rows",
                f"at least {self.min_rows} rows must be asked for, the plan asks {plan.min_rows}",
            )
        if plan.membership not in self.membership:
            return "membership", f"membership {plan.membership} is not allowed here"
        if HUB in plan.compute and not self.hub_computes:
            return "hub_computes", "this partner does not let the hub compute"
        foreign = set(partner.columns) - known
        if foreign:
            return (
                "columns",
                f"{len(foreign)} columns are not in this partner's contract ({min(foreign)})",
            )
        closed = set() if self.columns is None else set(partner.columns) - self.columns
        if closed:
            return "columns", f"{len(closed)} columns may not be used ({min(closed)})"
        if (ours == plan.label_holder) != (contract.label is not None):
            return (
                "label",
                "the plan and this partner's contract disagree about who holds the label",
            )
        for other in plan.partners:
            if other.name != ours and peers.get(other.name) != other.identity:
                return "unknown_partner", f"{other.name} does not have the key that is pinned here"
        return None
