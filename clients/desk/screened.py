"""What a screening will cost and what it found, in counts; loads no table library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clients.desk.ranges import DenseRange
from protocols.lookup.light import Colour

MALFORMED, SHARED = "malformed", "shared"


@dataclass(frozen=True, slots=True)
class Preview:
    """What a screening will cost.

    Attributes:
        quota_left: None if the hub cannot be asked at the moment.
        dense: numbers side by side among those that would be asked, if there are too many.
    """

    rows: int
    valid: int
    malformed: int
    duplicates: int
    shared: int
    cached: int
    needed: int
    quota_left: int | None
    seconds: int
    dense: DenseRange | None


@dataclass(frozen=True, slots=True)
class Summary:
    """What a screening found.

    Attributes:
        lights: rows by colour; `malformed` and `shared` for rows without a light.
        changes: customers by colour before and now; None for one not screened before.
        absent: contributors whose tables were missing or too old.
        problem: why tables could not be brought up to date, if so.
    """

    evaluated: int
    lights: Mapping[str, int]
    changes: Mapping[tuple[Colour | None, Colour], int]
    absent: tuple[str, ...]
    problem: str
