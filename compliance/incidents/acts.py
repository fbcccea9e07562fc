"""What people do with an incident: decided by the policies, entered, then written to the file.

Everybody at the organisation may open an incident and add to it; officers close it, with a
second person. Every event of the file names the entry of the own log that vouches for it. A
process that is killed between entry and file leaves an entry without an event; the act is
then done again, and has a second entry.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from compliance.agreement.fields import defect
from compliance.agreement.profile import Profile
from compliance.incidents.book import Incidents
from compliance.incidents.clocks import deadlines_of
from compliance.incidents.errors import IncidentError
from compliance.incidents.incident import Affected, Event, Incident, Kind, check_affected
from compliance.incidents.texts import MAX_REASON, check_text
from compliance.office.about import About
from compliance.office.office import Office
from compliance.policy.actors import Person
from compliance.policy.decision import Decision
from compliance.staff.acting import Acting
from protocols.tlog.entry import Verb

OPEN, CLOSE, EXPORT = "open_incident", "close_incident", "export_pack"
_SHOWN = 240


@dataclass(frozen=True, slots=True)
class Opening:
    """What is said when an incident is opened.

    Args:
        noticed: Unix seconds, from which all clocks run.
        text: what happened; it names no person.
    """

    profile: Profile
    sector: str
    noticed: int
    text: str = field(repr=False)
    affected: Affected = field(default_factory=Affected)


@dataclass(frozen=True, slots=True)
class IncidentDesk:
    """Where the incidents of one organisation are worked on: file, office, and who acts."""

    book: Incidents
    office: Office
    who: Acting

    def open(self, opening: Opening) -> Incident:
        """Open an incident; its clocks are those of the profile.

        Raises:
            MalformedMessageError: what is said may not stand there; names the cure.
            NotPermittedError: the policies say no.
        """
        text = check_text(opening.text, "what")
        affected = self._checked(opening.affected)
        deadlines = deadlines_of(opening.profile, opening.sector)
        self._check_past(opening.noticed, "noticed")
        with self.book.writing() as writing:
            draft = Incident(
                writing.next_number,
                self.office.name,
                opening.sector,
                opening.profile.reference,
                opening.noticed,
                deadlines,
                (),
            )
            decision, about = self._decide(draft, OPEN, text)
            event = self._entered(decision, about, Kind.OPENED, text)
            return writing.add(draft, replace(event, affected=affected))

    def note(self, number: int, text: str, affected: Affected | None = None) -> Incident:
        """Add what was found out or done.

        Raises: as `open`, and IncidentError: none of this number is open.
        """
        check_text(text, "text")
        found = self._checked(affected or Affected())
        with self.book.writing() as writing:
            incident = writing.open_one(number)
            decision, about = self._decide(incident, OPEN, text)
            event = self._entered(decision, about, Kind.NOTED, text)
            return writing.add(incident, replace(event, affected=found))

    def tell(
        self, number: int, text: str, *, told_at: int, deadline: str = "", whom: str = ""
    ) -> Incident:
        """Write down who was told what, and when; with a deadline it stops that clock.

        Raises: as `note`.
        """
        check_text(text, "text")
        self._check_past(told_at, "told at")
        with self.book.writing() as writing:
            incident = writing.open_one(number)
            name = self._named(incident, deadline, whom)
            if told_at < incident.noticed:
                raise defect("told at", "before the incident was noticed")
            recipient = deadline.partition("-")[0] if deadline else "others"
            decision, about = self._decide(
                incident, OPEN, text, verb=Verb.DISCLOSE, recipients=(recipient,)
            )
            event = self._entered(decision, about, Kind.TOLD, text)
            told = replace(event, deadline=deadline, whom=name, told_at=told_at)
            return writing.add(incident, told)

    def close(self, number: int, *, finding: str, reason: str, untold: str = "") -> Incident:
        """Close an incident with a second person; nothing can be added after.

        Args:
            untold: why those were not told whose clocks still stand.

        Raises: as `note`; IncidentError: clocks stand, and nobody says why.
        """
        check_text(finding, "finding")
        check_text(reason, "reason", most=MAX_REASON)
        with self.book.writing() as writing:
            incident = writing.open_one(number)
            self._check_told(incident, untold)
            said = {"finding": finding, "reason": reason, "untold": untold}
            decision, about = self._decide(
                incident, CLOSE, f"{reason} / {finding}", details=said | {"number": number}
            )
            second = decision.situation.facts.second
            event = self._entered(decision, about, Kind.CLOSED, finding)
            pseudonym = second.pseudonym if second is not None else b""
            closed = replace(event, reason=reason, second=pseudonym, untold=untold)
            return writing.add(incident, closed)

    def export(self, number: int, *, reason: str) -> Incident:
        """Enter that the file is written out for somebody, and return it.

        Raises: IncidentError: there is none of this number. NotPermittedError: the policies
            say no, as to everybody but an officer with a reason.
        """
        incident = self.book.find(number)
        about = About(
            Verb.DISCLOSE, f"incident/{number}", subject=f"incident {number}", reason=reason
        )
        self.who.perform(self.office, EXPORT, about, what=f"write out incident {number}: {reason}")
        return incident

    def _decide(
        self,
        incident: Incident,
        act: str,
        text: str,
        *,
        verb: Verb = Verb.CONSULT,
        recipients: tuple[str, ...] = (),
        details: object = None,
    ) -> tuple[Decision, About]:
        name = f"incident/{incident.number}"
        about = About(verb, name, recipients, subject=f"incident {incident.number}", reason=text)
        what = f"{act.replace('_', ' ')} {incident.number}: {text}"[:_SHOWN]
        return self.who.permit(self.office, act, about, what=what, details=details), about

    def _entered(self, decision: Decision, about: About, kind: Kind, text: str) -> Event:
        by = decision.principal
        pseudonym = by.pseudonym if isinstance(by, Person) else bytes(16)
        place = self.office.enter(decision, about)
        return Event(kind, self.office.clock.now(), pseudonym, place, text)

    def _checked(self, affected: Affected) -> Affected:
        found = check_affected(affected)
        for span in found.evidence:
            if span.log not in self.office.yearly.origins() or (
                span.last >= self.office.storage.edge(span.log).size
            ):
                raise defect("evidence", "names entries that the own log does not have")
        return found

    def _check_past(self, at: int, where: str) -> None:
        if not 0 <= at <= self.office.clock.now():
            raise defect(where, "lies in the future", "correct it, or the clock")

    def _named(self, incident: Incident, deadline: str, whom: str) -> str:
        if not deadline:
            return check_text(whom, "whom")
        name = incident.deadline(deadline).whom
        return check_text(whom, "whom") if whom else f"{name.en} {name.zh}"

    def _check_told(self, incident: Incident, untold: str) -> None:
        waiting = incident.untold(self.office.clock.now())
        if waiting and not untold:
            names = ", ".join(clock.deadline.id for clock in waiting)
            raise IncidentError(
                f"incident {incident.number}: {names} not told; write down who was told, or say "
                "why nobody has to be"
            )
        if untold:
            check_text(untold, "untold", most=MAX_REASON)
