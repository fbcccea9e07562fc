"""Settling what a search of the own log found: an officer says what it was, in the log itself.

There is no list beside the log. A settlement is an entry of the act `settle_alarm`; the
subject of its private part names the finding and how far it reached, its reason says what the
officer found out. It is durable when `settle` returns, any process finds it, and a process
that is killed before leaves the finding open. A finding that has grown since is open again.

Concurrency: two officers who settle the same finding at once, in two processes, may both be
entered; it is settled all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from compliance.exports.finding import Finding
from compliance.exports.own import own_entry
from compliance.log.errors import EntryPrunedError, PartErasedError, UnknownPartError
from compliance.log.storage import Place
from compliance.office.about import About
from compliance.office.office import Office
from compliance.staff.acting import Acting
from protocols.tlog.entry import Outcome, Verb

ACT = "settle_alarm"
_SHOWN = 240


@dataclass(frozen=True, slots=True)
class Settlement:
    """Who settled a finding, when, and with what result.

    Args:
        finding: what the officer wrote; it stays with the owner.
    """

    place: Place
    at: int
    actor: str
    finding: str = field(repr=False)


def settle(office: Office, who: Acting, alarm: Finding, *, finding: str) -> Place:
    """Enter what an officer found out about an alarm, and return where.

    Raises:
        NotPermittedError: the policies say no, as to everybody but an officer with a reason.
    """
    about = About(
        Verb.CONSULT,
        f"alarm/{alarm.id}",
        subject=_subject(alarm),
        reason=finding.strip(),
        once=True,
    )
    what = f"settle the alarm {alarm.id} ({alarm.rule}): {finding.strip()}"[:_SHOWN]
    decision = who.permit(office, ACT, about, what=what)
    return office.enter(decision, about)


def settlement(office: Office, alarm: Finding) -> Settlement | None:
    """Return how a finding was settled as far as it reaches, or None while it is open."""
    for place in office.parts.find_subject(_subject(alarm)):
        try:
            entry = own_entry(office, place)
            if (entry.act, entry.outcome) != (ACT, Outcome.DONE):
                continue
            part = office.parts.read(place, entry.commitment)
        except (EntryPrunedError, PartErasedError, UnknownPartError):
            continue
        return Settlement(place, entry.time, entry.actor.hex(), part.reason)
    return None


def _subject(alarm: Finding) -> str:
    # With the end of the finding: what comes after was not looked at by this officer.
    return f"alarm {alarm.id} up to {alarm.last_log} {alarm.last_entry}"
