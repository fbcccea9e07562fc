"""Break-glass: a declared emergency, for some hours, open until a second person reviews it.

While it lasts, the one who declared it may do what `Facts.glass_broken` opens, and nobody
else may. Why, and in which case, stands in the private part of the log's entry, sealed: here
is only what finds it. It ends by itself; it stays on the officers' list until it is reviewed,
and after three days it is overdue.

Durability, order, concurrency: see `compliance.journal`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from compliance.agreement.fields import Fields, defect
from compliance.errors import LogCorruptError
from compliance.staff.errors import StaffError
from compliance.staff.events import Event, Events
from protocols.errors import MalformedMessageError

HOUR_S = 3_600
LASTS_HOURS, MOST_HOURS = 4, 12
OVERDUE_S = 72 * HOUR_S
ID_SIZE = 16


@dataclass(frozen=True, slots=True)
class Emergency:
    """One declared emergency.

    Args:
        id: 16 random bytes; `subject` is how the log's private parts know it.
        declared, ends, reviewed: Unix seconds; `reviewed` is None until it is.
    """

    number: int
    id: bytes
    account: str
    declared: int
    ends: int
    reviewed: int | None = None
    reviewer: str = ""
    second: str = ""

    @property
    def subject(self) -> str:
        """Return under which subject its private parts are found."""
        return subject_of(self.id)

    def lasts(self, now: int) -> bool:
        """Report whether it opens anything."""
        return self.reviewed is None and self.declared <= now < self.ends

    def is_overdue(self, now: int) -> bool:
        """Report whether its review is late."""
        return self.reviewed is None and now >= self.declared + OVERDUE_S


class Emergencies:
    """The emergencies of one organisation, in one journal."""

    def __init__(self, path: Path, *, random: Callable[[int], bytes] = os.urandom) -> None:
        self._events = Events(path)
        self._random = random

    def new_id(self) -> bytes:
        """Draw the id of an emergency that is about to be entered."""
        return self._random(ID_SIZE)

    def declare(self, found: bytes, account: str, *, hours: int, now: int) -> Emergency:
        """Declare an emergency that was entered into the log under this id."""
        check_hours(hours)
        with self._events.exclusive() as (events, append):
            number = len(_replayed(events)) + 1
            made = Emergency(number, found, account, now, now + hours * HOUR_S)
            append(
                {
                    "kind": "declared", "number": number, "id": found.hex(), "account": account,
                    "at": now, "ends": made.ends,
                }
            )  # fmt: skip
            return made

    def review(self, number: int, *, reviewer: str, second: str, now: int) -> Emergency:
        """Close an emergency whose review was entered into the log; the first review counts.

        Raises:
            StaffError: there is none of this number, or it was reviewed.
        """
        with self._events.exclusive() as (events, append):
            found = _open(_replayed(events), number)
            append(
                {
                    "kind": "reviewed", "number": number, "by": reviewer, "second": second,
                    "at": now,
                }
            )  # fmt: skip
            return replace(found, reviewed=now, reviewer=reviewer, second=second)

    def find(self, number: int) -> Emergency:
        """Return an emergency that waits for its review.

        Raises:
            StaffError: none of this number does.
        """
        return _open(_replayed(self._events.all()), number)

    def broken_by(self, account: str, now: int) -> bool:
        """Report whether this account has an emergency that lasts."""
        return any(item.account == account and item.lasts(now) for item in self.all())

    def unreviewed(self) -> tuple[Emergency, ...]:
        """Return what waits for its review, oldest first."""
        return tuple(item for item in self.all() if item.reviewed is None)

    def all(self) -> tuple[Emergency, ...]:
        """Return all that were ever declared."""
        return tuple(_replayed(self._events.all()).values())


def subject_of(found: bytes) -> str:
    """Return the subject of an emergency's private parts."""
    return f"emergency {found.hex()}"


def check_hours(hours: int) -> int:
    """Return for how long an emergency may last.

    Raises:
        MalformedMessageError: too long, or no time at all.
    """
    if not 1 <= hours <= MOST_HOURS:
        raise defect("hours", f"must be 1 to {MOST_HOURS}", f"{LASTS_HOURS} are usual")
    return hours


def _open(found: dict[int, Emergency], number: int) -> Emergency:
    emergency = found.get(number)
    if emergency is None or emergency.reviewed is not None:
        raise StaffError(f"emergency {number}: waits for no review; see `staff waiting`")
    return emergency


def _replayed(events: list[Event]) -> dict[int, Emergency]:
    found: dict[int, Emergency] = {}
    try:
        for event in events:
            item = _declared(event, found) if event.get("kind") == "declared" else None
            item = item or _reviewed(event, found)
            found[item.number] = item
    except MalformedMessageError as error:
        raise LogCorruptError(f"{error}; restore staff/emergencies.journal") from error
    return found


def _declared(event: Event, found: dict[int, Emergency]) -> Emergency:
    fields = Fields.of(event, {"kind", "number", "id", "account", "at", "ends"}, "emergency")
    number = len(found) + 1
    return Emergency(
        fields.whole("number", least=number, most=number),
        fields.digest("id", ID_SIZE),
        fields.text("account"),
        fields.whole("at"),
        fields.whole("ends"),
    )


def _reviewed(event: Event, found: dict[int, Emergency]) -> Emergency:
    fields = Fields.of(event, {"kind", "number", "by", "second", "at"}, "emergency")
    item = found.get(fields.whole("number"))
    if fields.values["kind"] != "reviewed" or item is None or item.reviewed is not None:
        raise defect("emergency", "events are out of order")
    return replace(
        item,
        reviewed=fields.whole("at"),
        reviewer=fields.text("by"),
        second=fields.text("second"),
    )
