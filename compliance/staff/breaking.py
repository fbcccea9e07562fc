"""Declaring an emergency, and reviewing it: decided, sealed in the log, and then in force.

The reason and the case stand in the private part of the entry `break_glass` under the
subject of the emergency; the finding of the review under the same. A crash between entry and
register leaves an entry without an emergency: it is declared, or reviewed, again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from compliance.agreement.coverage import Lookup
from compliance.agreement.vocabulary import Channel
from compliance.errors import NotPermittedError
from compliance.log.errors import EntryPrunedError, PartErasedError, UnknownPartError
from compliance.office.about import About
from compliance.office.office import Office
from compliance.policy.actors import Person
from compliance.staff.accounts import checked_text
from compliance.staff.acting import Acting, person_of
from compliance.staff.emergencies import LASTS_HOURS, Emergency, check_hours, subject_of
from compliance.staff.staff import Staff
from protocols.tlog.entry import Entry, Verb

MATTER = "staff"
BREAK, REVIEW, READ = "break_glass", "review_break_glass", "read_log"
OWN_EMERGENCY = "staff.own-emergency"
_GONE = "erased"
_SHOWN = 300


@dataclass(frozen=True, slots=True)
class Sealed:
    """What was sealed when the emergency was declared."""

    case: str = field(repr=False)
    reason: str = field(repr=False)


def declare_emergency(
    staff: Staff,
    office: Office,
    who: Acting,
    *,
    case: str,
    reason: str,
    hours: int = LASTS_HOURS,
    channel: Channel | None = None,
) -> Emergency:
    """Declare an emergency for who acts.

    Args:
        channel: in which it will ask; the first that the agreement grants if None.

    Raises:
        NotPermittedError: the policies say no; also without a case, a reason or an agreement.
    """
    check_hours(hours)
    checked_text(case, "case")
    checked_text(reason)
    found = staff.emergencies.new_id()
    about = About(Verb.CONSULT, MATTER, subject=subject_of(found), case=case, reason=reason)
    who.perform(
        office, BREAK, about, what="declare an emergency", question=_asking(office, channel)
    )
    return staff.emergencies.declare(found, who.account, hours=hours, now=office.clock.now())


def review_emergency(
    staff: Staff, office: Office, who: Acting, number: int, *, finding: str
) -> Emergency:
    """Close an emergency with a finding, by two people other than the one who declared it.

    Raises:
        NotPermittedError: the policies say no, or one of the two declared it.
        StaffError: none of this number waits.
    """
    emergency = staff.emergencies.find(number)
    about = About(Verb.CONSULT, MATTER, subject=emergency.subject, reason=checked_text(finding))
    what = f"close the emergency {number} with the finding: {finding}"[:_SHOWN]
    decision = who.permit(office, REVIEW, about, what=what)
    second = _account_of(staff, office, decision.situation.facts.second)
    if emergency.account in {who.account, second}:
        office.enter_refusal(decision, about, OWN_EMERGENCY)
        raise NotPermittedError(
            f"emergency {number}: nobody reviews what they declared; two others have to"
        )
    office.enter(decision, about)
    return staff.emergencies.review(
        number, reviewer=who.account, second=second, now=office.clock.now()
    )


def read_emergency(staff: Staff, office: Office, who: Acting, number: int) -> Sealed:
    """Return why an emergency was declared, and in which case; that it was read is entered.

    Raises:
        NotPermittedError: who acts may not read the log. StaffError: none of this number waits.
    """
    emergency = staff.emergencies.find(number)
    about = About(Verb.CONSULT, MATTER, subject=emergency.subject)
    who.perform(office, READ, about)
    for place in office.parts.find_subject(emergency.subject):
        try:
            (data,) = office.storage.entries(place.origin, place.index, place.index + 1)
            entry = Entry.decode(data)
            if entry.act == BREAK:
                part = office.parts.read(place, entry.commitment)
                return Sealed(part.case, part.reason)
        except (EntryPrunedError, PartErasedError, UnknownPartError):
            continue
    return Sealed(_GONE, _GONE)


def _asking(office: Office, channel: Channel | None) -> Lookup:
    """Return the question under which the agreement covers an emergency: may we ask at all?"""
    agreement = office.agreement()
    questions = [Lookup(office.name, item) for item in ([channel] if channel else Channel)]
    if agreement is not None:
        for question in questions:
            if question.ask(agreement).covered:
                return question
    return questions[0]


def _account_of(staff: Staff, office: Office, person: Person | None) -> str:
    """Return the account that has a pseudonym; empty for nobody."""
    for account in staff.accounts().values():
        if person is not None and person_of(office, account).pseudonym == person.pseudonym:
            return account.name
    return ""
