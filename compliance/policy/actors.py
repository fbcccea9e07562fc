"""Who acts, on what, and in which situation: the values that a decision is about.

People appear under the pseudonym that their organisation gives them for the log
(`protocols.tlog.private`), never by a name or an account.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from compliance.agreement.coverage import Coverage
from compliance.agreement.fields import Fields, defect, read_matched
from compliance.agreement.terms import BASIS, NAME, NAME_RULE
from compliance.agreement.vocabulary import Channel, Role

PSEUDONYM_SIZE = 16
TAIPEI_OFFSET_S = 8 * 3600
_DAY_S, _HOUR_S, _LAST_HOUR = 86_400, 3_600, 23
_IRI = re.compile(r"(?:https://[!-~]{1,190})?", re.ASCII)
_CHANNELS = {"", *Channel}


class StaffRole(StrEnum):
    """What a person does at an organisation."""

    DESK = "desk"
    ANALYST = "analyst"
    OPERATOR = "operator"
    APPROVER = "approver"
    COMPLIANCE = "compliance"


@dataclass(frozen=True, slots=True)
class Organisation:
    """A party, or one that would like to be: known by its certificate.

    Args:
        kind: its role in the agreement; None if it is a party of none.
    """

    name: str
    kind: Role | None

    def __post_init__(self) -> None:
        read_matched(self.name, NAME, NAME_RULE, "organisation")

    def fields(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"organisation": self.name, "kind": self.word}

    @property
    def word(self) -> str:
        """Return its kind as policies read it; empty for a stranger."""
        return "" if self.kind is None else self.kind.value

    @classmethod
    def parse(cls, value: object, path: str) -> Organisation:
        """Read the JSON form."""
        fields = Fields.of(value, {"organisation", "kind"}, path)
        return _organisation(fields)


@dataclass(frozen=True, slots=True)
class Person:
    """A member of an organisation's staff, under a pseudonym of 16 bytes."""

    pseudonym: bytes
    organisation: Organisation
    roles: frozenset[StaffRole]

    def __post_init__(self) -> None:
        if len(self.pseudonym) != PSEUDONYM_SIZE:
            raise defect("person", f"the pseudonym must be {PSEUDONYM_SIZE} bytes")

    def fields(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "person": self.pseudonym.hex(),
            "roles": sorted(role.value for role in self.roles),
            **self.organisation.fields(),
        }

    @classmethod
    def parse(cls, value: object, path: str) -> Person:
        """Read the JSON form."""
        fields = Fields.of(value, {"person", "roles", "organisation", "kind"}, path)
        home = _organisation(fields)
        roles = frozenset(fields.choices("roles", StaffRole))
        return cls(fields.digest("person", PSEUDONYM_SIZE), home, roles)


Principal = Person | Organisation


@dataclass(frozen=True, slots=True)
class Facts:
    """What only the place knows where something is done.

    Args:
        hour: 0 to 23, where the person works; `hour_at` counts it for a fixed offset.
        second: who agreed beside the one that acts.
        glass_broken: an emergency was declared and not yet reviewed.
    """

    hour: int
    channel: str = ""
    case_present: bool = False
    reason_given: bool = False
    glass_broken: bool = False
    second: Person | None = None

    def __post_init__(self) -> None:
        if type(self.hour) is not int or not 0 <= self.hour <= _LAST_HOUR:
            raise defect("facts.hour", "must be a whole number in 0..23")
        if self.channel not in _CHANNELS:
            raise defect("facts.channel", f"must be empty or one of {', '.join(Channel)}")


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a policy may look at beside who acts on what."""

    facts: Facts
    agreement_in_force: bool
    coverage: Coverage

    def fields(self) -> dict[str, Any]:
        """Return the JSON form."""
        facts, second = self.facts, self.facts.second
        return {
            "agreement_in_force": self.agreement_in_force,
            "covered": self.coverage.covered,
            "rule": self.coverage.rule,
            "purpose": self.coverage.purpose,
            "bases": list(self.coverage.bases),
            "channel": str(facts.channel),
            "case_present": facts.case_present,
            "reason_given": facts.reason_given,
            "hour": facts.hour,
            "glass_broken": facts.glass_broken,
            "second": None if second is None else second.fields(),
        }

    @classmethod
    def parse(cls, value: object, path: str) -> Situation:
        """Read the JSON form."""
        names = {
            "agreement_in_force", "covered", "rule", "purpose", "bases", "channel",
            "case_present", "reason_given", "hour", "glass_broken", "second",
        }  # fmt: skip
        fields = Fields.of(value, names, path)
        second, rule = fields.values["second"], fields.values["rule"]
        covered = fields.flag("covered")
        if not isinstance(rule, str) or covered is not (rule == ""):
            raise defect(fields.at("rule"), "must be empty if, and only if, the act is covered")
        bases = fields.texts("bases")
        if not all(BASIS.fullmatch(basis) for basis in bases):
            raise defect(fields.at("bases"), "must be ids of legal bases")
        channel = fields.values["channel"]
        facts = Facts(
            hour=fields.whole("hour", most=_LAST_HOUR),
            channel=channel if isinstance(channel, str) else "?",
            case_present=fields.flag("case_present"),
            reason_given=fields.flag("reason_given"),
            glass_broken=fields.flag("glass_broken"),
            second=None if second is None else Person.parse(second, fields.at("second")),
        )
        purpose = fields.matched("purpose", _IRI, "an IRI, or empty")
        coverage = Coverage(rule=rule, purpose=purpose, bases=bases)
        return cls(facts, fields.flag("agreement_in_force"), coverage)


def _organisation(fields: Fields) -> Organisation:
    kind = None if fields.values["kind"] == "" else fields.choice("kind", Role)
    return Organisation(fields.matched("organisation", NAME, NAME_RULE), kind)


def hour_at(now: int, offset_s: int = TAIPEI_OFFSET_S) -> int:
    """Return the hour of the day, 0 to 23, at an offset from UTC."""
    return (now + offset_s) % _DAY_S // _HOUR_S


def parse_principal(value: object, path: str) -> Principal:
    """Read a person or an organisation."""
    if isinstance(value, Mapping) and "person" in value:
        return Person.parse(value, path)
    return Organisation.parse(value, path)
