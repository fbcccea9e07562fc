"""What a check saw: whether it passes, and in a few words why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

DAY_S = 86_400


class Level(StrEnum):
    """How a check ended."""

    PASS = "PASS"  # noqa: S105  no password
    WARN = "WARN"
    FAIL = "FAIL"


PASS: Final = Level.PASS
WARN: Final = Level.WARN
FAIL: Final = Level.FAIL


@dataclass(frozen=True, slots=True)
class Seen:
    """The end of one check; `found` names no person and no secret."""

    level: Level
    found: str = ""


def lasting(left_s: float, *, warn_s: float, fail_s: float = 0.0) -> Seen:
    """Judge by how long something still lasts."""
    days = left_s / DAY_S
    told = f"{days:.0f} days left" if left_s >= 0 else f"over since {-days:.0f} days"
    if left_s <= fail_s:
        return Seen(FAIL, told)
    return Seen(WARN if left_s <= warn_s else PASS, told)


def aged(age_s: float, *, warn_s: float, fail_s: float = float("inf")) -> Seen:
    """Judge by how old something is."""
    told = ago(age_s)
    if age_s > fail_s:
        return Seen(FAIL, told)
    return Seen(WARN if age_s > warn_s else PASS, told)


def ago(seconds: float) -> str:
    """Say how long ago something was, in the unit that fits."""
    for size, unit in ((DAY_S, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} seconds ago"


def worse(*seen: Seen) -> Seen:
    """Join what several looks saw into one line; the worst of them counts."""
    order = (PASS, WARN, FAIL)
    level = max((one.level for one in seen), key=order.index, default=PASS)
    return Seen(level, "; ".join(one.found for one in seen if one.found))
