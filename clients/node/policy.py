"""The standing policy: which runs this partner takes part in without asking anyone.

Everything a run would do here is compared with what the partner allows, and the first
rule that it breaks is the reason of the refusal. With `decide: hand` a run that breaks
no rule still waits for a person.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from protocols.errors import UnsupportedParameterError
from protocols.vertical.contract import Contract
from protocols.vertical.plan import HUB, TrainingPlan

_FIELDS = {
    "purposes", "max_epsilon", "max_delta", "max_steps", "min_rows", "membership",
    "columns", "hub_computes", "decide", "cap_epsilon", "pseudonyms",
}  # fmt: skip
_MEMBERSHIP = {"hidden", "shared"}
_PSEUDONYMS = {"oblivious", "keyed"}


@dataclass(frozen=True, slots=True)
class Policy:
    """What this partner allows.

    Attributes:
        purposes: IRIs of allowed purposes.
        max_epsilon, max_delta: of one run; cap_epsilon: of all runs together, by the ledger.
        pseudonyms: where they may come from: `oblivious`, the function whose key nobody
            holds, or `keyed`, a hash under a key of the partners, which is weaker.
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
    pseudonyms: tuple[str, ...]
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
            wrong = min(set(value) ^ _FIELDS)[:32]
            raise UnsupportedParameterError(
                f"{wrong}: missing or unknown; exactly these are needed: "
                f"{', '.join(sorted(_FIELDS))}"
            )
        if value["decide"] not in ("policy", "hand"):
            raise UnsupportedParameterError("decide: must be policy or hand; correct it")
        if not isinstance(value["hub_computes"], bool):
            raise UnsupportedParameterError("hub_computes: must be true or false; correct it")
        membership = _texts(value, "membership")
        if not set(membership) <= _MEMBERSHIP:
            raise UnsupportedParameterError("membership: may list hidden and shared; correct it")
        pseudonyms = _texts(value, "pseudonyms")
        if not set(pseudonyms) <= _PSEUDONYMS:
            raise UnsupportedParameterError("pseudonyms: may list oblivious and keyed; correct it")
        everything = value["columns"] == "all"
        return cls(
            purposes=_texts(value, "purposes"),
            max_epsilon=_positive(value, "max_epsilon"),
            max_delta=_positive(value, "max_delta", below=1),
            cap_epsilon=_positive(value, "cap_epsilon"),
            max_steps=_whole(value, "max_steps"),
            min_rows=_whole(value, "min_rows"),
            membership=membership,
            pseudonyms=pseudonyms,
            columns=None if everything else frozenset(_texts(value, "columns")),
            hub_computes=value["hub_computes"],
            decide=value["decide"],
        )

    def objection(
        self, plan: TrainingPlan, *, ours: str, identities: Mapping[str, str], contract: Contract
    ) -> tuple[str, str] | None:
        """Return the code and reason of the first rule that a plan breaks, or None.

        Args:
            identities: identity keys by name, hexadecimal: the pinned ones, and our own.
            contract: our own feature contract.
        """
        rules: tuple[Callable[[], tuple[str, str] | None], ...] = (
            lambda: self._against_purpose(plan),
            lambda: self._against_cost(plan),
            lambda: self._against_exposure(plan),
            lambda: self._against_columns(plan.partner(ours).columns, contract),
            lambda: _against_roles(plan, ours, contract),
            lambda: _against_partners(plan, identities),
        )
        return next((found for rule in rules if (found := rule()) is not None), None)

    def _against_purpose(self, plan: TrainingPlan) -> tuple[str, str] | None:
        if plan.purpose in self.purposes:
            return None
        return "purpose", "the purpose is not among those that this partner allows"

    def _against_cost(self, plan: TrainingPlan) -> tuple[str, str] | None:
        limits = (
            ("epsilon", plan.epsilon, self.max_epsilon),
            ("delta", plan.delta, self.max_delta),
            ("steps", plan.steps, self.max_steps),
        )
        for name, asked, allowed in limits:
            # Asked this way round, a number that is none is refused.
            if not asked <= allowed:
                return name, f"{name} {asked:g} is over this partner's {allowed:g} a run"
        return None

    def _against_exposure(self, plan: TrainingPlan) -> tuple[str, str] | None:
        if plan.min_rows < self.min_rows:
            return "min_rows", (
                f"at least {self.min_rows} rows must be asked for, the plan asks {plan.min_rows}"
            )
        if plan.membership not in self.membership:
            return "membership", f"membership {plan.membership} is not allowed here"
        source = "oblivious" if plan.epoch else "keyed"
        if source not in self.pseudonyms:
            return "pseudonyms", f"{source} pseudonyms are not allowed here"
        if HUB in plan.compute and not self.hub_computes:
            return "hub_computes", "this partner does not let the hub compute"
        return None

    def _against_columns(
        self, asked: tuple[str, ...], contract: Contract
    ) -> tuple[str, str] | None:
        foreign = set(asked) - {column.name for column in contract.columns}
        if foreign:
            return "columns", (
                f"{len(foreign)} columns are not in this partner's contract ({min(foreign)[:64]})"
            )
        closed = set() if self.columns is None else set(asked) - self.columns
        if closed:
            return "columns", f"{len(closed)} columns may not be used ({min(closed)})"
        return None


def _against_roles(plan: TrainingPlan, ours: str, contract: Contract) -> tuple[str, str] | None:
    if (ours in plan.label_holders) == (contract.label is not None):
        return None
    return "label", "the plan and this partner's contract disagree about who holds the label"


def _against_partners(plan: TrainingPlan, identities: Mapping[str, str]) -> tuple[str, str] | None:
    for partner in plan.partners:
        if identities.get(partner.name) != partner.identity:
            return "unknown_partner", f"{partner.name} does not have the key that is known here"
    return None


def _positive(value: Mapping[str, Any], name: str, *, below: float = math.inf) -> float:
    number = value[name]
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < below:
        limit = "" if below == math.inf else f" and less than {below:g}"
        raise UnsupportedParameterError(
            f"{name}: must be a number greater than 0{limit}; correct it"
        )
    return float(number)


def _whole(value: Mapping[str, Any], name: str) -> int:
    number = value[name]
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise UnsupportedParameterError(f"{name}: must be a whole number of at least 1; correct it")
    return number


def _texts(value: Mapping[str, Any], name: str) -> tuple[str, ...]:
    texts = value[name]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UnsupportedParameterError(f"{name}: must be a list of texts; correct it")
    return tuple(texts)
