"""The light: what the records about one identifier amount to for the person at the desk.

    red     a confirmed suspect, in a table that is fresh
    grey    cannot tell: a required source is missing or too old, and nothing is red
    yellow  reported but not confirmed; or a suspected victim, who is to be cared for
    green   no match found; never "safe": about most fraud nobody has reported anything

A record counts only if its contributor permits this use, it is neither withdrawn nor
expired, and it is no canary. A suspected victim never makes a light red and is never a mark:
it is told with words of care, and only where the use includes care. A record from a table
that is too old proves nothing either way, so it turns the light grey instead of hiding.

A red light stands although another source is missing: no other source could take it back.

The texts of both languages are data, in `wording`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum

from protocols.lookup.payload import Category, Payload, Slot, SourceClass, Status, Use

MAX_REASONS = 3
# A table from the future comes from a wrong clock, and would stay fresh for too long.
CLOCK_SKEW_S = 3600


class Colour(StrEnum):
    """The four states of a light."""

    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"
    GREY = "grey"


class Freshness(Enum):
    """Whether a contributor's table may be believed at this time."""

    FRESH = "fresh"
    STALE = "stale"
    MISSING = "missing"


class Weight(StrEnum):
    """What a reason is: the strongest come first."""

    CONFIRMED = "confirmed"
    CARE = "care"
    REPORTED = "reported"


@dataclass(frozen=True, slots=True)
class Source:
    """One contributor's table, as far as a light depends on it.

    Args:
        age_s: seconds since its contributor made it; None if there is none.
        max_age_s: the greatest age at which it may be believed.
        is_required: without it there is no green and no yellow.
    """

    contributor: str
    age_s: int | None
    max_age_s: int
    is_required: bool = True

    @property
    def freshness(self) -> Freshness:
        """Return whether the table may be believed."""
        if self.age_s is None:
            return Freshness.MISSING
        is_fresh = -CLOCK_SKEW_S <= self.age_s <= self.max_age_s
        return Freshness.FRESH if is_fresh else Freshness.STALE


@dataclass(frozen=True, slots=True)
class Match:
    """A record that was found in a contributor's table."""

    contributor: str
    payload: Payload


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason, in classes and months; never the text of a report.

    Attributes:
        first, last: months counted from January 2000 = 0.
    """

    weight: Weight
    category: Category
    source: SourceClass
    status: Status
    first: int
    last: int

    @property
    def code(self) -> str:
        """Name the reason for machines: weight, source class and category."""
        return f"{self.weight}:{self.source.name.lower()}:{self.category.name.lower()}"


@dataclass(frozen=True, slots=True)
class Light:
    """A colour with its reasons.

    Attributes:
        reasons: at most three, the strongest first.
        others: how many reasons more there are.
        absent: contributors whose table is missing or too old and would be needed.
    """

    colour: Colour
    reasons: tuple[Reason, ...] = ()
    others: int = 0
    absent: tuple[str, ...] = ()

    @property
    def is_care(self) -> bool:
        """Whether a suspected victim is to be cared for."""
        return any(reason.weight is Weight.CARE for reason in self.reasons)


def judge(matches: Sequence[Match], sources: Sequence[Source], *, use: Use, month: int) -> Light:
    """Return the light for one identifier.

    Args:
        sources: every contributor that a match may name, and every required one.
        use: what the light is for; suspected victims are told only if it includes care.
        month: the present month, counted from January 2000 = 0.
    """
    usable = [item for item in matches if _counts(item.payload, use, month)]
    fresh = {item.contributor for item in sources if item.freshness is Freshness.FRESH}
    absent = {item.contributor for item in sources if item.is_required} - fresh
    absent |= {item.contributor for item in usable} - fresh
    reasons = sorted((_reason(item.payload) for item in usable), key=_strength)
    believed = {_weight(item.payload) for item in usable if item.contributor in fresh}
    shown = _shown(reasons)
    return Light(
        _colour(believed, is_complete=not absent),
        shown,
        len(reasons) - len(shown),
        tuple(sorted(absent)),
    )


def combine(lights: Sequence[Light]) -> Light:
    """Return one light for several identifiers of one person; the most serious wins."""
    if not lights:
        raise ValueError("a light needs at least one identifier")
    colour = min((light.colour for light in lights), key=_SEVERITY.index)
    reasons = sorted((reason for light in lights for reason in light.reasons), key=_strength)
    shown = _shown(reasons)
    others = sum(light.others for light in lights) + len(reasons) - len(shown)
    absent = sorted({name for light in lights for name in light.absent})
    return Light(colour, shown, others, tuple(absent))


_SEVERITY = (Colour.RED, Colour.GREY, Colour.YELLOW, Colour.GREEN)
_WEIGHTS = tuple(Weight)


def _counts(payload: Payload, use: Use, month: int) -> bool:
    if payload.canary or payload.expires < month:
        return False
    if payload.status not in {Status.REPORTED, Status.CONFIRMED}:
        return False
    # Care is the only use of a victim's record, and never a use against a suspect.
    care = Use.CARE
    allowed = use & care if payload.slot is Slot.VICTIM else use & ~care
    return bool(payload.use & allowed)


def _weight(payload: Payload) -> Weight:
    if payload.slot is Slot.VICTIM:
        return Weight.CARE
    return Weight.CONFIRMED if payload.status is Status.CONFIRMED else Weight.REPORTED


def _colour(believed: set[Weight], *, is_complete: bool) -> Colour:
    if Weight.CONFIRMED in believed:
        return Colour.RED
    if not is_complete:
        return Colour.GREY
    return Colour.YELLOW if believed else Colour.GREEN


def _reason(payload: Payload) -> Reason:
    return Reason(
        _weight(payload),
        payload.category,
        payload.source,
        payload.status,
        payload.first,
        payload.last,
    )


def _strength(reason: Reason) -> tuple[int, int, int, int]:
    return (_WEIGHTS.index(reason.weight), -reason.last, reason.source, reason.category)


def _shown(reasons: Sequence[Reason]) -> tuple[Reason, ...]:
    """Choose at most three; the word of care is never crowded out."""
    shown = list(reasons[:MAX_REASONS])
    rest = reasons[MAX_REASONS:]
    care = next((reason for reason in rest if reason.weight is Weight.CARE), None)
    if care is not None and all(reason.weight is not Weight.CARE for reason in shown):
        shown[-1] = care
    return tuple(shown)
