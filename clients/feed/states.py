"""The life of a report: which status may follow which.

    (new) -> reported | confirmed
    reported -> confirmed | withdrawn | expired
    confirmed -> withdrawn | expired

Withdrawn and expired are ends: a report that was taken back is reported anew under another
number, so that nobody can later doubt which statement a desk had acted on.
"""

from __future__ import annotations

from protocols.errors import OutOfTurnError
from protocols.lookup.payload import Status

_NEXT: dict[Status | None, frozenset[Status]] = {
    None: frozenset({Status.REPORTED, Status.CONFIRMED}),
    Status.REPORTED: frozenset({Status.CONFIRMED, Status.WITHDRAWN, Status.EXPIRED}),
    Status.CONFIRMED: frozenset({Status.WITHDRAWN, Status.EXPIRED}),
    Status.WITHDRAWN: frozenset(),
    Status.EXPIRED: frozenset(),
}
STANDING = (Status.REPORTED, Status.CONFIRMED)


def check_step(before: Status | None, after: Status) -> None:
    """Refuse a step that the life of a report does not have.

    Raises:
        OutOfTurnError: names both ends of the step.
    """
    if after not in _NEXT[before]:
        raise OutOfTurnError(f"{state_name(before)} -> {state_name(after)} is no legal step")


def state_name(status: Status | None) -> str:
    """Return a status as people write it."""
    return "new" if status is None else status.name.lower()
