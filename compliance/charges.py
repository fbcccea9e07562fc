"""What a partner released in a run, as the charge of one entry of a log.

A run of sixty steps is sixty releases of one kind at each partner. The entry has them as one
event with their number: `compliance.spending` counts exactly, so that whoever adds up the
entries has to the last release what the partner's own ledger has. The hub's log and the
partner's own say the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compliance.spending import Tally, event_of, tally
from protocols.dp.events import event_from_fields
from protocols.errors import MalformedMessageError
from protocols.tlog.entry import Charge
from protocols.vertical.plan import TrainingPlan

# The whole table of a partner is one cohort, as its ledger has it.
COHORT = "people"
_LABEL = "run"

MAX_KINDS = 400  # of releases: with more, one entry might not hold them

Told = Sequence[Mapping[str, Any]]
Releases = Mapping[str, Told]


def charge_of(plan: TrainingPlan, name: str, releases: Told) -> Charge | None:
    """Return what a partner's releases cost, towards each of the others; None if it made none.

    Raises:
        MalformedMessageError: a release is not known, or they are of too many kinds.
    """
    spent: Tally = Tally()
    for release in releases:
        spent += tally(event_from_fields(release["event"]))
    if len(spent) > MAX_KINDS:
        raise MalformedMessageError(f"releases of {name}: over {MAX_KINDS} kinds")
    others = [other for other in plan.names if other != name]
    if not spent or not others:
        return None
    scopes = tuple((COHORT, name, other) for other in others)
    return Charge(plan.run, _LABEL, scopes, event_of(spent))
