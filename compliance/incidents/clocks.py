"""Whom an incident must be told, within how many hours, by the profile of a jurisdiction.

The clocks are copied into the incident when it is opened: a later edition of the profile
changes nothing in a file that was opened before. All run from when the incident was noticed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from compliance.agreement.fields import Fields, defect
from compliance.agreement.profile import Profile, Standing
from compliance.agreement.terms import parse_title
from compliance.agreement.vocabulary import Title

HOUR_S = 3_600
AUTHORITY = "authority"
_SUBJECTS = Title("the persons concerned", "當事人")


class ClockState(StrEnum):
    """How a clock stands at a moment."""

    DUE = "due"
    OVERDUE = "overdue"
    TOLD = "told"
    TOLD_LATE = "told_late"
    NOT_TOLD = "not_told"  # the file was closed with a reason why nobody had to be told


@dataclass(frozen=True, slots=True)
class Deadline:
    """Within how many hours whom an incident is told.

    Args:
        id: tells the clocks of one incident apart, such as `authority-72h`.
        whom: the authority by name, or the persons concerned.
    """

    id: str
    whom: Title
    hours: int
    when: Title
    source: str
    standing: Standing

    def fields(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "id": self.id,
            "whom": {"en": self.whom.en, "zh": self.whom.zh},
            "hours": self.hours,
            "when": {"en": self.when.en, "zh": self.when.zh},
            "source": self.source,
            "standing": self.standing.value,
        }

    @classmethod
    def parse(cls, value: object, path: str) -> Deadline:
        """Read the JSON object."""
        fields = Fields.of(value, set(cls.__dataclass_fields__), path)
        return cls(
            fields.text("id"),
            parse_title(fields.values["whom"], fields.at("whom")),
            fields.whole("hours", least=1),
            parse_title(fields.values["when"], fields.at("when")),
            fields.text("source"),
            fields.choice("standing", Standing),
        )


@dataclass(frozen=True, slots=True)
class Clock:
    """A deadline of one incident, at a moment.

    Args:
        due, told_at: Unix seconds; `told_at` is None until it was told.
        left_s: how long there is still; negative where it is late, 0 once it was told.
    """

    deadline: Deadline
    due: int
    told_at: int | None
    state: ClockState
    left_s: int

    def fields(self) -> dict[str, Any]:
        """Return the JSON object."""
        return self.deadline.fields() | {
            "due": self.due,
            "told_at": self.told_at,
            "state": self.state.value,
            "left_s": self.left_s,
        }


def deadlines_of(profile: Profile, sector: str) -> tuple[Deadline, ...]:
    """Return whom an organisation of a sector must tell, the shortest time first.

    Raises:
        MalformedMessageError: the profile has no such sector; names those that it has.
    """
    known = profile.sector(sector)
    if known is None:
        names = ", ".join(item.id for item in profile.sectors)
        raise defect("sector", f"unknown in the profile {profile.id}", f"take one of {names}")
    found, seen = [], Counter[str]()
    for clock in profile.clocks_of(sector):
        if clock.standing is Standing.NOT_APPLICABLE:
            continue
        name = f"{clock.to}-{clock.hours}h"
        seen[name] += 1
        name += f"-{seen[name]}" if seen[name] > 1 else ""
        whom = known.authority if clock.to == AUTHORITY else _SUBJECTS
        found.append(Deadline(name, whom, clock.hours, clock.when, clock.source, clock.standing))
    return tuple(found)


def clock_at(
    deadline: Deadline, noticed: int, told_at: int | None, *, is_closed: bool, now: int
) -> Clock:
    """Tell how a deadline stands at `now`."""
    due = noticed + deadline.hours * HOUR_S
    if told_at is not None:
        state, left = ClockState.TOLD if told_at <= due else ClockState.TOLD_LATE, 0
    elif is_closed:
        state, left = ClockState.NOT_TOLD, 0
    else:
        state, left = ClockState.DUE if now <= due else ClockState.OVERDUE, due - now
    return Clock(deadline, due, told_at, state, left)
