"""What an operator wishes for an epoch, and the terms that holders are asked to agree to.

What is not wished for is as the agreement has it. Whether a wish stays within the agreement
is not asked here but when the terms are decided on, so that a refusal is on record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from compliance.agreement.coverage import grants as agreed_grants
from compliance.agreement.document import Agreement
from protocols.epoch.grants import MAX_WHOLE, Grant
from protocols.epoch.manifest import NO_PREVIOUS, EpochManifest
from protocols.epoch.setup import KeygenTerms
from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.lookup.request import Purpose
from server.epochs.holding import HUB

DAY_S = 24 * 3600
# A fifth more than there are people, for those who join and for what is asked twice.
RESERVE_PERCENT = 120
_KINDS: dict[str, type] = {
    "threshold": int, "holders": list, "days": int, "grace_days": int,
    "starts_in_hours": int, "population": int, "quotas": dict, "purposes": dict,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wish:
    """An operator's choices for a new epoch.

    Args:
        threshold, holders: 0 and none stand for those of the agreement.
        days: how long the epoch is in force; grace_days: how much longer it is answered.
        population: people of the largest asker; no quota is more than a fifth above. 0: not
            known.
        quotas, purposes: by asker, in place of what the agreement grants.
    """

    threshold: int = 0
    holders: tuple[str, ...] = ()
    days: int = 31
    grace_days: int = 3
    starts_in_hours: int = 0
    population: int = 0
    quotas: Mapping[str, int] = field(default_factory=dict)
    purposes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Wish:
        """Read the fields of a control request; those that are missing take their defaults.

        Raises:
            MalformedMessageError: a field is unknown or of a wrong type.
        """
        for name, item in value.items():
            if type(item) is not _KINDS.get(name):
                raise MalformedMessageError("control: fields of begin_epoch unknown or wrong")
        fields = dict(value)
        if "holders" in fields:
            fields["holders"] = tuple(_text(name) for name in fields["holders"])
        if "purposes" in fields:
            fields["purposes"] = {
                name: tuple(_text(item) for item in items)
                for name, items in fields["purposes"].items()
            }
        return cls(**fields)

    def under(self, agreed: Agreement) -> Wish:
        """Return the wish with the agreement's holders and threshold where it has none."""
        return replace(
            self,
            threshold=self.threshold or agreed.keys.threshold,
            holders=self.holders or agreed.keys.holders,
        )

    def grants(self, partners: Iterable[str], agreed: Agreement) -> dict[str, Grant]:
        """Return what every asker of the agreement may ask that has joined.

        Raises:
            UnsupportedParameterError: a partner or a purpose is unknown, or a quota is none.
        """
        granted = agreed_grants(agreed)
        names = sorted(set(partners) & set(granted))
        for name in sorted({*self.quotas, *self.purposes} - set(names)):
            raise UnsupportedParameterError(
                f"{name[:32]}: no such partner that may ask; approve its join request, or let "
                "the agreement name it an asker"
            )
        most = self.population * RESERVE_PERCENT // 100 or MAX_WHOLE
        return {
            name: _grant(
                name,
                self.quotas.get(name, min(granted[name].quota, most)),
                self.purposes.get(name, granted[name].purposes),
            )
            for name in names
        }


def new_terms(
    wish: Wish,
    *,
    hub: str,
    grants: Mapping[str, Grant],
    numbers: Mapping[str, int],
    latest: EpochManifest | None,
    session: bytes,
    now: int,
) -> KeygenTerms:
    """Return the terms of the epoch after `latest`.

    Raises:
        UnsupportedParameterError: the choices do not hold together.
    """
    if HUB not in wish.holders:
        raise UnsupportedParameterError(f"holders: must include {HUB}; add it")
    if wish.days < 1 or wish.grace_days < 0 or wish.starts_in_hours < 0:
        raise UnsupportedParameterError(
            "days: must be at least 1, grace days and hours at least 0; correct them"
        )
    begins = now + wish.starts_in_hours * 3600
    return KeygenTerms(
        hub=hub,
        epoch=1 if latest is None else latest.epoch + 1,
        threshold=wish.threshold,
        holders=wish.holders,
        session=session,
        not_before=begins,
        not_after=begins + wish.days * DAY_S,
        grace_s=wish.grace_days * DAY_S,
        contributors=numbers,
        askers=grants,
        previous=NO_PREVIOUS if latest is None else latest.digest,
    )


def refresh_terms(current: EpochManifest, session: bytes) -> KeygenTerms:
    """Return the terms of new shares for the key of an epoch; all else stays."""
    return KeygenTerms(
        hub=current.hub,
        epoch=current.epoch,
        threshold=current.record.threshold,
        holders=current.record.holders,
        session=session,
        not_before=current.not_before,
        not_after=current.not_after,
        grace_s=current.grace_s,
        contributors=current.contributors,
        askers=current.askers,
        previous=current.digest,
        refresh=True,
    )


def _grant(name: str, quota: Any, purposes: Iterable[str]) -> Grant:
    known = ", ".join(Purpose)
    try:
        return Grant(quota, frozenset(Purpose(item) for item in purposes))
    except ValueError as error:
        raise UnsupportedParameterError(f"purposes of {name}: may be {known}; correct") from error
    except MalformedMessageError as error:
        raise UnsupportedParameterError(f"{name}: {error}") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise MalformedMessageError("control: fields of begin_epoch unknown or wrong")
    return value
