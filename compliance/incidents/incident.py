"""An incident as its file tells it: events in order, and what follows from all of them.

opened   noticed when, what happened, which sector, whom it must be told, what is affected
noted    what was found out or done since; may add to what is affected
told     who was told, when, and what
closed   with a finding, a reason and a second person; nothing comes after
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from compliance.agreement.fields import Fields, defect
from compliance.agreement.terms import ProfileReference
from compliance.incidents.clocks import Clock, ClockState, Deadline, clock_at
from compliance.log.storage import Place
from compliance.policy.actors import PSEUDONYM_SIZE

MAX_ITEMS = 64
_Item = TypeVar("_Item")
_NAME = re.compile(r"(?!.*[0-9]{9})[A-Za-z0-9*][A-Za-z0-9_.:*/-]{0,99}", re.ASCII)
_NAME_RULE = "1 to 100 of letters, digits, '_', '.', ':', '/', '*' and '-', without long numbers"


class Kind(StrEnum):
    """What an event of the file is."""

    OPENED = "opened"
    NOTED = "noted"
    TOLD = "told"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Span:
    """Entries of a log, from the first to the last, both included."""

    log: str
    first: int
    last: int

    def fields(self) -> list[Any]:
        """Return the JSON form."""
        return [self.log, self.first, self.last]

    @classmethod
    def parse(cls, value: object, path: str) -> Span:
        """Read the JSON form."""
        match value:
            case [str(log), int(first), int(last)] if 0 <= first <= last:
                return cls(log, first, last)
        raise defect(path, "must be an origin and two indices")


@dataclass(frozen=True, slots=True)
class Affected:
    """What an incident is about.

    Args:
        flows: directions, such as `report:police:insurer`; data_sets: names.
        alarms: ids of findings of the own log, or of others' alarms.
        evidence: entries that show what happened.
        records, persons: how many; None where it is not known.
        special: ids of special categories of the profile.
    """

    flows: tuple[str, ...] = ()
    data_sets: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()
    evidence: tuple[Span, ...] = ()
    records: int | None = None
    persons: int | None = None
    special: tuple[str, ...] = ()

    def joined(self, later: Affected) -> Affected:
        """Return this with what was found out later: names add up, later numbers count."""
        return Affected(
            flows=_union(self.flows, later.flows),
            data_sets=_union(self.data_sets, later.data_sets),
            alarms=_union(self.alarms, later.alarms),
            evidence=_union(self.evidence, later.evidence),
            records=self.records if later.records is None else later.records,
            persons=self.persons if later.persons is None else later.persons,
            special=_union(self.special, later.special),
        )

    def fields(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "flows": list(self.flows),
            "data_sets": list(self.data_sets),
            "alarms": list(self.alarms),
            "evidence": [item.fields() for item in self.evidence],
            "records": self.records,
            "persons": self.persons,
            "special": list(self.special),
        }

    @classmethod
    def parse(cls, value: object, path: str) -> Affected:
        """Read the JSON object."""
        fields = Fields.of(value, set(cls.__dataclass_fields__), path)
        return cls(
            flows=_names(fields, "flows"),
            data_sets=_names(fields, "data_sets"),
            alarms=_names(fields, "alarms"),
            evidence=tuple(
                Span.parse(item, f"{fields.at('evidence')}[{at}]")
                for at, item in enumerate(fields.items("evidence", most=MAX_ITEMS))
            ),
            records=_number(fields, "records"),
            persons=_number(fields, "persons"),
            special=_names(fields, "special"),
        )


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that the file says.

    Args:
        at: when it was entered; by: the pseudonym of who did.
        place: the entry of the own log that vouches for it.
        text: what happened, was found out, was told, or the finding that closes it.
        affected: of an opening or a note.
        deadline, told_at: of a telling; the deadline is empty where it belongs to no clock.
        whom: of a telling.
        reason, second, untold: of a closing; `untold` says why clocks were left untold.
    """

    kind: Kind
    at: int
    by: bytes
    place: Place
    text: str
    affected: Affected = field(default_factory=Affected)
    deadline: str = ""
    whom: str = ""
    told_at: int = 0
    reason: str = ""
    second: bytes = b""
    untold: str = ""


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident.

    Args:
        number: from 1, in the order in which they were opened here.
        noticed: Unix seconds.
        profile: the edition from which the deadlines are.
    """

    number: int
    organisation: str
    sector: str
    profile: ProfileReference
    noticed: int
    deadlines: tuple[Deadline, ...]
    events: tuple[Event, ...]

    @property
    def what(self) -> str:
        """What happened, as it was first told."""
        return self.events[0].text

    @property
    def affected(self) -> Affected:
        """All that is known to be affected."""
        found = Affected()
        for event in self.events:
            found = found.joined(event.affected)
        return found

    @property
    def closing(self) -> Event | None:
        """How it was closed, or None while it is open."""
        last = self.events[-1]
        return last if last.kind is Kind.CLOSED else None

    @property
    def is_open(self) -> bool:
        """Whether something may still be added."""
        return self.closing is None

    def deadline(self, name: str) -> Deadline:
        """Return one of the deadlines.

        Raises:
            MalformedMessageError: there is none of this id; names those that there are.
        """
        for item in self.deadlines:
            if item.id == name:
                return item
        names = ", ".join(item.id for item in self.deadlines) or "none"
        raise defect("clock", "unknown in this incident", f"take one of {names}")

    def clocks(self, now: int) -> tuple[Clock, ...]:
        """Tell how every deadline stands at `now`, the shortest first."""
        return tuple(
            clock_at(
                item,
                self.noticed,
                min(self._told(item.id), default=None),
                is_closed=not self.is_open,
                now=now,
            )
            for item in self.deadlines
        )

    def untold(self, now: int) -> tuple[Clock, ...]:
        """Return the clocks that still run, or have run out."""
        waiting = {ClockState.DUE, ClockState.OVERDUE}
        return tuple(clock for clock in self.clocks(now) if clock.state in waiting)

    def _told(self, name: str) -> Iterator[int]:
        return (item.told_at for item in self.events if item.deadline == name)


def check_pseudonym(fields: Fields, name: str) -> bytes:
    """Read a pseudonym."""
    return fields.digest(name, PSEUDONYM_SIZE)


def check_affected(affected: Affected) -> Affected:
    """Refuse what could not be read back.

    Raises:
        MalformedMessageError: names field, rule and cure.
    """
    return Affected.parse(affected.fields(), "affected")


def _union(first: tuple[_Item, ...], second: tuple[_Item, ...]) -> tuple[_Item, ...]:
    return tuple(dict.fromkeys((*first, *second)))


def _names(fields: Fields, name: str) -> tuple[str, ...]:
    found = fields.texts(name, most=MAX_ITEMS)
    if not all(_NAME.fullmatch(item) for item in found):
        raise defect(fields.at(name), f"each must be {_NAME_RULE}")
    return found


def _number(fields: Fields, name: str) -> int | None:
    return None if fields.values[name] is None else fields.whole(name)
