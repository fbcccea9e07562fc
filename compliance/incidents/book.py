"""The incidents of one organisation, in ROOT/incidents/incidents.journal.

Durability, order, concurrency: those of `compliance.journal`. Whoever writes holds the file
alone from giving a number to writing the event, so that no two incidents have one number and
nothing is added to an incident that is closed. A process that is killed leaves whole events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from compliance.agreement.fields import Fields, defect
from compliance.agreement.terms import NAME, NAME_RULE, ProfileReference
from compliance.errors import LogCorruptError
from compliance.incidents.clocks import Deadline
from compliance.incidents.errors import IncidentError
from compliance.incidents.incident import Affected, Event, Incident, Kind, check_pseudonym
from compliance.log.storage import Place
from compliance.staff.events import Events
from protocols.errors import MalformedMessageError

FOLDER = "incidents"
_FILE = "incidents.journal"
_COMMON = {"kind", "number", "at", "by", "log", "index", "text"}
_OPENED = {"organisation", "sector", "profile", "noticed", "deadlines", "affected"}
_WHERE = "incident"


@dataclass(slots=True)
class Writing:
    """The file held alone: what stands in it, and what appends to it."""

    incidents: list[Incident]
    _append: Callable[[dict[str, Any]], None] = field(repr=False)

    @property
    def next_number(self) -> int:
        """The number of the incident that is opened next."""
        return len(self.incidents) + 1

    def open_one(self, number: int) -> Incident:
        """Return an incident that is open.

        Raises:
            IncidentError: there is none of this number, or it is closed.
        """
        found = _find(self.incidents, number)
        if not found.is_open:
            raise IncidentError(f"incident {number}: is closed; open a new one")
        return found

    def add(self, incident: Incident, event: Event) -> Incident:
        """Write an event durably; the first one of an incident opens it."""
        value = _event_fields(incident, event)
        if event.kind is Kind.OPENED:
            value |= _opening_fields(incident)
        self._append(value)
        return replace(incident, events=(*incident.events, event))


class Incidents:
    """The incidents in an organisation's directory; looking makes nothing on disk."""

    def __init__(self, root: Path) -> None:
        self._events = Events(root / FOLDER / _FILE)

    def all(self) -> list[Incident]:
        """Return all incidents, the oldest first.

        Raises:
            LogCorruptError: the file is damaged.
        """
        return _replayed(self._events.all())

    def find(self, number: int) -> Incident:
        """Return one incident.

        Raises:
            IncidentError: there is none of this number.
        """
        return _find(self.all(), number)

    @contextmanager
    def writing(self) -> Iterator[Writing]:
        """Hold the file alone."""
        with self._events.exclusive() as (events, append):
            yield Writing(_replayed(events), append)


def _find(incidents: list[Incident], number: int) -> Incident:
    if not 1 <= number <= len(incidents):
        raise IncidentError(f"incident {number}: there is none; see `incident list`")
    return incidents[number - 1]


def _event_fields(incident: Incident, event: Event) -> dict[str, Any]:
    value: dict[str, Any] = {
        "kind": event.kind.value,
        "number": incident.number,
        "at": event.at,
        "by": event.by.hex(),
        "log": event.place.origin,
        "index": event.place.index,
        "text": event.text,
    }
    match event.kind:
        case Kind.OPENED | Kind.NOTED:
            return value | {"affected": event.affected.fields()}
        case Kind.TOLD:
            return value | {
                "deadline": event.deadline, "whom": event.whom, "told_at": event.told_at,
            }  # fmt: skip
        case Kind.CLOSED:
            return value | {
                "reason": event.reason, "second": event.second.hex(), "untold": event.untold,
            }  # fmt: skip


def _opening_fields(incident: Incident) -> dict[str, Any]:
    return {
        "organisation": incident.organisation,
        "sector": incident.sector,
        "profile": incident.profile.format(),
        "noticed": incident.noticed,
        "deadlines": [item.fields() for item in incident.deadlines],
    }


def _replayed(events: list[dict[str, Any]]) -> list[Incident]:
    found: list[Incident] = []
    try:
        for value in events:
            if value.get("kind") == Kind.OPENED:
                found.append(_opened(value, len(found) + 1))
                continue
            fields, event = _later(value)
            number = fields.whole("number", least=1, most=len(found))
            if not found[number - 1].is_open:
                raise defect(_WHERE, "something follows its closing")
            found[number - 1] = _with(found[number - 1], event)
    except MalformedMessageError as error:
        raise LogCorruptError(f"{error}; restore {FOLDER}/{_FILE}") from error
    return found


def _opened(value: dict[str, Any], number: int) -> Incident:
    fields = Fields.of(value, _COMMON | _OPENED, _WHERE)
    event = replace(_event(fields, Kind.OPENED), affected=_affected(fields))
    return Incident(
        number=fields.whole("number", least=number, most=number),
        organisation=fields.matched("organisation", NAME, NAME_RULE),
        sector=fields.matched("sector", NAME, NAME_RULE),
        profile=ProfileReference.parse(fields.values["profile"], fields.at("profile")),
        noticed=fields.whole("noticed"),
        deadlines=tuple(
            Deadline.parse(item, f"{fields.at('deadlines')}[{at}]")
            for at, item in enumerate(fields.items("deadlines"))
        ),
        events=(event,),
    )


def _later(value: dict[str, Any]) -> tuple[Fields, Event]:
    match value.get("kind"):
        case "noted":
            fields = Fields.of(value, _COMMON | {"affected"}, _WHERE)
            return fields, replace(_event(fields, Kind.NOTED), affected=_affected(fields))
        case "told":
            fields = Fields.of(value, _COMMON | {"deadline", "whom", "told_at"}, _WHERE)
            return fields, replace(
                _event(fields, Kind.TOLD),
                deadline=str(fields.values["deadline"]),
                whom=fields.text("whom"),
                told_at=fields.whole("told_at"),
            )
        case "closed":
            fields = Fields.of(value, _COMMON | {"reason", "second", "untold"}, _WHERE)
            return fields, replace(
                _event(fields, Kind.CLOSED),
                reason=str(fields.values["reason"]),
                second=check_pseudonym(fields, "second"),
                untold=str(fields.values["untold"]),
            )
    raise defect(_WHERE, "an event of an unknown kind")


def _event(fields: Fields, kind: Kind) -> Event:
    return Event(
        kind,
        fields.whole("at"),
        check_pseudonym(fields, "by"),
        Place(fields.text("log"), fields.whole("index")),
        str(fields.values["text"]),
    )


def _affected(fields: Fields) -> Affected:
    return Affected.parse(fields.values["affected"], fields.at("affected"))


def _with(incident: Incident, event: Event) -> Incident:
    return replace(incident, events=(*incident.events, event))
