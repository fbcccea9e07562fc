"""What the jurisdiction says of a kind of request: the right, its time, the codes of refusal.

Times are those of the jurisdiction profile (`compliance.agreement.profile`); `terms.json`
adds which right a kind rests on, how its last day is counted, and a code for every ground of
refusal, each with its article.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from compliance.agreement.profile import Profile, Right, shipped_profile
from compliance.agreement.vocabulary import Title
from compliance.rights.kinds import Kind
from protocols.errors import UnsupportedParameterError

LEGAL_HOLD = "legal_hold"
RETENTION = "statutory_retention"


@dataclass(frozen=True, slots=True)
class Calendar:
    """How days are counted.

    Args:
        offset_s: of local time from UTC.
        saturday_until_hour: a period that would end on a Saturday ends at this hour of the
            next working day, or with that day if None.
    """

    offset_s: int
    saturday_until_hour: int | None
    source: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """One ground on which a request may be refused, wholly or in part."""

    code: str
    title: Title
    source: str
    standing: str


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for one kind of request under one profile."""

    kind: Kind
    profile: str
    right: Right
    calendar: Calendar
    refusals: Mapping[str, Refusal]

    def refusal(self, code: str) -> Refusal:
        """Return a ground of refusal.

        Raises:
            UnsupportedParameterError: the profile has none of this code; lists them.
        """
        if code not in self.refusals:
            known = ", ".join(self.refusals) or "none"
            raise UnsupportedParameterError(
                f"code: is no ground to refuse {self.kind} under {self.profile}; take one of "
                f"{known}"
            )
        return self.refusals[code]


def terms_of(kind: Kind, profile: str) -> Terms:
    """Return the terms of a kind under a profile that comes with the program.

    Raises:
        UnsupportedParameterError: there is no such profile.
    """
    return _terms(kind, shipped_profile(profile))


@cache
def _table() -> dict[str, Any]:
    text = files(__package__).joinpath("terms.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)["profiles"]
    return found


def _terms(kind: Kind, profile: Profile) -> Terms:
    table = _table().get(profile.id)
    if table is None:
        raise UnsupportedParameterError(
            f"profile: {profile.id} has no terms of rights; take one of {', '.join(_table())}"
        )
    named = table["rights"][kind.value]
    right = next(item for item in profile.rights if item.id == named)
    return Terms(
        kind,
        profile.id,
        right,
        Calendar(**table["calendar"]),
        {
            item["code"]: Refusal(
                item["code"], Title(item["en"], item["zh"]), item["source"], item["standing"]
            )
            for item in table["refusals"]
            if kind in item["kinds"]
        },
    )
