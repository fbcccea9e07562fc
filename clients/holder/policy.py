"""A holder's own rules for an epoch: with whom, how long, and how much anybody may ask.

    holders        partners that may hold shares of one key with us
    min_threshold  fewest holders that together may answer
    max_quota      most elements that one asker may have evaluated in an epoch
    max_days       longest time for which a share is served, the grace included
    decide         `policy` by these rules, `never` takes part in no new epoch

The first rule that the terms break is the reason of the refusal, which the hub's operator
reads. Epochs that were agreed to before are served whatever this file says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clients.node.files import store_json
from compliance.configuration import ConfigError, check_fields, read_object, typed
from compliance.errors import NotPermittedError
from protocols.epoch.setup import KeygenTerms
from protocols.errors import MalformedMessageError
from protocols.link import check_party
from protocols.oprf.shares import MIN_THRESHOLD

_WHERE = "holder/policy.json"
_FIELDS = {"holders", "min_threshold", "max_quota", "max_days", "decide"}
_DAY_S = 24 * 3600
# Cautious, yet enough for the hub's own defaults: a month with its grace, and 100,000
# customers with a reserve. Whoever screens more must be let do so here, knowingly.
DEFAULT_QUOTA = 200_000
DEFAULT_DAYS = 45


@dataclass(frozen=True, slots=True)
class HolderPolicy:
    """The contents of policy.json."""

    holders: frozenset[str]
    min_threshold: int
    max_quota: int
    max_days: int
    decide: str

    def judge(self, terms: KeygenTerms, *, known: Collection[str]) -> None:
        """Return only if this holder takes part on these terms.

        Args:
            known: names whose identity keys are pinned here, our own and the hub's included.

        Raises:
            NotPermittedError: the first rule that is broken, and how it could be met.
        """
        rules: tuple[Callable[[], str | None], ...] = (
            self._against_taking_part,
            lambda: self._against_holders(terms),
            lambda: self._against_time(terms),
            lambda: self._against_askers(terms),
            lambda: _against_strangers(terms, known),
        )
        reason = next((found for rule in rules if (found := rule()) is not None), None)
        if reason is not None:
            raise NotPermittedError(reason)

    def _against_taking_part(self) -> str | None:
        if self.decide == "policy":
            return None
        return "decide is never here: this holder takes part in no new epoch at present"

    def _against_holders(self, terms: KeygenTerms) -> str | None:
        foreign = sorted(set(terms.holders) - self.holders)
        if foreign:
            return f"holders: {foreign[0]} may hold no share beside this holder"
        if terms.threshold < self.min_threshold:
            return (
                f"threshold: {terms.threshold} is below this holder's {self.min_threshold}; "
                "begin with a higher one"
            )
        return None

    def _against_time(self, terms: KeygenTerms) -> str | None:
        served_s = terms.not_after + terms.grace_s - terms.not_before
        if served_s <= self.max_days * _DAY_S:
            return None
        return (
            f"days: {math.ceil(served_s / _DAY_S)} with the grace, "
            f"this holder allows {self.max_days}; begin a shorter epoch"
        )

    def _against_askers(self, terms: KeygenTerms) -> str | None:
        for name, grant in sorted(terms.askers.items()):
            if grant.quota > self.max_quota:
                return (
                    f"quota: {grant.quota} for {name} is over this holder's {self.max_quota}; "
                    "grant less, or have the holder raise max_quota in its policy"
                )
        return None


def load_policy(path: Path, *, peers: Collection[str], ours: str, hub: str) -> HolderPolicy:
    """Read the policy; at the first start, write a cautious one.

    Raises:
        ConfigError: names the field, the rule and the cure.
    """
    if not path.exists():
        beginning = HolderPolicy(
            holders=frozenset({hub, ours, *peers}),
            min_threshold=MIN_THRESHOLD,
            max_quota=DEFAULT_QUOTA,
            max_days=DEFAULT_DAYS,
            decide="policy",
        )
        store_json(path, asdict(beginning) | {"holders": sorted(beginning.holders)})
    return parse_policy(read_object(path))


def parse_policy(value: Mapping[str, Any]) -> HolderPolicy:
    """Read the JSON form; unknown or missing fields are refused.

    Raises:
        ConfigError: names the field, the rule and the cure.
    """
    check_fields(value, _FIELDS, _WHERE)
    holders = typed(value, "holders", list, _WHERE)
    for name in holders:
        try:
            check_party(name)
        except (MalformedMessageError, TypeError) as error:
            raise ConfigError(f"{_WHERE}: holders must list partners' names; correct it") from error
    decide = typed(value, "decide", str, _WHERE)
    if decide not in {"policy", "never"}:
        raise ConfigError(f"{_WHERE}: decide must be policy or never; correct it")
    return HolderPolicy(
        holders=frozenset(holders),
        min_threshold=_whole(value, "min_threshold", MIN_THRESHOLD),
        max_quota=_whole(value, "max_quota", 1),
        max_days=_whole(value, "max_days", 1),
        decide=decide,
    )


def _against_strangers(terms: KeygenTerms, known: Collection[str]) -> str | None:
    for name in sorted({*terms.holders, *terms.askers} - set(known)):
        return (
            f"{name}: its identity key is not pinned here; the holder must run "
            "`lianfang node trust` for it first"
        )
    return None


def _whole(value: Mapping[str, Any], name: str, least: int) -> int:
    number = typed(value, name, int, _WHERE)
    if number < least:
        raise ConfigError(f"{_WHERE}: {name} must be at least {least}; correct it")
    return number
