"""What officers do with persons' requests: decided, entered, and only then done.

Every act is an act of a person (`answer_rights_request`, `search_subject`, `erase`,
`settle_dispute` of the Cedar schema), its entry stands in the own log before anything changes,
and its private part names the request by its receipt number. Illegal steps are refused before
anything is decided, since they would change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from compliance.log.storage import Place
from compliance.office.about import About
from compliance.office.office import Office
from compliance.policy.actors import Person
from compliance.policy.decision import Decision
from compliance.rights.case import Case, Hold, Texts
from compliance.rights.casefile import CaseFile
from compliance.rights.holds import Holds
from compliance.rights.kinds import OPEN, Answer, Kind, State, check_step
from compliance.rights.stores import Subject
from compliance.rights.terms import terms_of
from compliance.staff.acting import Acting
from protocols.errors import OutOfTurnError, UnsupportedParameterError
from protocols.identifiers import DOMAIN
from protocols.tlog.entry import Verb

ANSWER, SEARCH, ERASE, SETTLE = (
    "answer_rights_request",
    "search_subject",
    "erase",
    "settle_dispute",
)
DUTY = "https://w3id.org/dpv#LegalCompliance"
DISPUTE = "https://w3id.org/dpv#DisputeManagement"
_VALUE_AT = len(DOMAIN) + 3  # of a canonical identifier: behind domain, type and length
_LEAST = 4
_CASE = "rights "


@dataclass(frozen=True, slots=True)
class Who:
    """Who acts, and why.

    Args:
        reason: for the log's private part; names no person.
    """

    acting: Acting
    reason: str = field(default="", repr=False)

    @property
    def actor(self) -> bytes:
        """The pseudonym that the file of requests keeps."""
        by = self.acting.by
        return by.pseudonym if isinstance(by, Person) else b""


class Rights:
    """Persons' requests at one organisation."""

    def __init__(self, office: Office, file: CaseFile) -> None:
        self.office = office
        self.file = file
        self.holds = Holds(file)

    @property
    def now(self) -> int:
        """The office's time."""
        return self.office.clock.now()

    def open(self, kind: Kind, profile: str, texts: Texts, who: Who) -> Case:
        """Take in a request and give it a receipt number.

        Raises:
            NotPermittedError: who acts may not.
            UnsupportedParameterError: no such profile, or nobody named.
        """
        terms_of(kind, profile)
        if not texts.identifiers:
            raise UnsupportedParameterError("request: names nobody; give an identifier")
        number = self.file.draw()
        token = self.file.token(texts.identifiers[0].canonical)
        self._perform(ANSWER, Verb.COLLECT, kind, number, who, subject=token)
        return self.file.open(kind, profile, texts, now=self.now, actor=who.actor, number=number)

    def show(self, number: str, who: Who) -> Texts:
        """Return what is known of the person of a request; looking is entered too."""
        texts = self.file.texts(number)
        self.act_on(number, ANSWER, Verb.CONSULT, who)
        return texts

    def verify_identity(self, number: str, who: Who) -> Case:
        """Note that who asks has shown to be the person; the reason says by what.

        Raises:
            OutOfTurnError, NotPermittedError.
        """
        return self._advance(number, State.VERIFIED, who)

    def take_up(self, number: str, who: Who) -> Case:
        """Begin to work on a request."""
        return self._advance(number, State.IN_WORK, who)

    def extend(self, number: str, who: Who) -> Case:
        """Take the second period, once; the person is to be told the reason.

        Raises:
            OutOfTurnError: not in work, extended before, or overdue.
            UnsupportedParameterError: without a reason.
        """
        case = self.file.case(number)
        check_step(case.state, State.EXTENDED)
        if case.is_overdue(self.now):
            raise OutOfTurnError("request: is overdue; an extension must be told before that")
        if not who.reason:
            raise UnsupportedParameterError("extension: needs a reason; the person is told it")
        self.act_on(number, ANSWER, Verb.ALTER, who)
        return self.file.extend(number, now=self.now, actor=who.actor, why=who.reason)

    def answer(self, number: str, answer: Answer, code: str, who: Who) -> Case:
        """Note what the person is told. An erasure is granted by doing it.

        Raises:
            OutOfTurnError, NotPermittedError. UnsupportedParameterError: no such code.
        """
        case = self.file.check_answer(number, answer, code)
        if case.kind is Kind.ERASURE and answer in {Answer.GRANTED, Answer.PARTLY}:
            raise OutOfTurnError("request: an erasure is granted by erasing, not by saying so")
        self.act_on(number, ANSWER, Verb.DISCLOSE, who)
        return self.file.answer(number, answer, code, now=self.now, actor=who.actor, why=who.reason)

    def close(self, number: str, who: Who) -> Case:
        """End a request that was answered; after an erasure its person is forgotten here too.

        Raises:
            OutOfTurnError, NotPermittedError.
        """
        case = self.file.case(number)
        check_step(case.state, State.CLOSED)
        is_erasure = case.kind is Kind.ERASURE and case.answer in {Answer.GRANTED, Answer.PARTLY}
        verb = Verb.ERASE if is_erasure else Verb.ALTER
        self._perform(ANSWER, verb, case.kind, number, who)
        tokens = self.file.tokens(number)
        if is_erasure:
            # Destroyed before the request counts as closed: a crash between leaves it open.
            with self.file.database.transaction():
                self.holds.forget(tokens, self.now)
            self.file.shred([number])
        return self.file.advance(
            number, State.CLOSED, now=self.now, actor=who.actor, why=who.reason
        )

    def hold(
        self, targets: list[str], office: str, until: int, who: Who, *, number: str = ""
    ) -> list[Hold]:
        """Lay a hold on tokens or requests; the reason of `who` is the hold's.

        Raises:
            UnsupportedParameterError: no owner, reason or end. NotPermittedError.
        """
        self.holds.check(office=office, reason=who.reason, until=until, now=self.now)
        self._perform(ANSWER, Verb.ALTER, "hold", number or "hold", who)
        return self.holds.lay(
            targets, owner=who.actor, office=office, reason=who.reason, until=until, now=self.now
        )

    def release(self, number: str, who: Who) -> Hold:
        """End a hold before its time.

        Raises:
            OutOfTurnError: it does not stand. NotPermittedError.
        """
        if not self.holds.find(number).stands(self.now):
            raise OutOfTurnError(f"hold {number}: does not stand any more")
        self._perform(ANSWER, Verb.ALTER, "hold", number, who)
        return self.holds.release(number, self.now)

    def subject(self, number: str) -> Subject:
        """Return the person of a request as stores look for it."""
        canonical = tuple(item.canonical for item in self.file.texts(number).identifiers)
        return Subject(canonical, tuple(map(self.file.token, canonical)))

    def others(self, number: str) -> list[Case]:
        """Return the other requests of the same person."""
        found = self.file.about(self.file.tokens(number))
        return [case for case in found if case.number != number]

    def open_others(self, number: str) -> list[Case]:
        """Return the other requests of the same person that are not at their end."""
        return [case for case in self.others(number) if case.state in {*OPEN, State.ANSWERED}]

    def act_on(
        self, number: str, act: str, verb: Verb, who: Who, *, recipients: tuple[str, ...] = ()
    ) -> Place:
        """Decide an act on a request and enter it, under the person's token.

        Raises:
            NotPermittedError: after the refusal was entered.
        """
        case = self.file.case(number)
        tokens = self.file.tokens(number)
        subject = tokens[0] if tokens and not case.certificate else ""
        return self._perform(
            act, verb, case.kind, number, who, subject=subject, recipients=recipients
        )

    def permit(self, act: str, about: About, who: Who) -> Decision:
        """Decide an act, perhaps by a consent given before; a refusal is entered and raised."""
        number = about.case.removeprefix(_CASE)
        self._check_reason(who.reason, number)
        return who.acting.permit(self.office, act, about, what=f"{act} of request {number}")

    def _advance(self, number: str, after: State, who: Who) -> Case:
        check_step(self.file.case(number).state, after)
        self.act_on(number, ANSWER, Verb.ALTER, who)
        return self.file.advance(number, after, now=self.now, actor=who.actor, why=who.reason)

    def _perform(
        self,
        act: str,
        verb: Verb,
        matter: str,
        number: str,
        who: Who,
        *,
        subject: str = "",
        recipients: tuple[str, ...] = (),
    ) -> Place:
        about = about_of(verb, matter, number, who, subject=subject, recipients=recipients)
        decision = self.permit(act, about, who)
        return self.office.enter(decision, about)

    def _check_reason(self, reason: str, number: str) -> None:
        """Refuse a reason that repeats an identifier: it would outlive the erasure.

        Raises:
            UnsupportedParameterError: it does.
        """
        found = self.file.database.one("SELECT 1 FROM requests WHERE number = ?", number)
        if not reason or found is None or self.file.case(number).is_erased:
            return
        plain = reason.replace(" ", "").replace("-", "").lower()
        for item in self.file.texts(number).identifiers:
            value = item.canonical[_VALUE_AT:].decode().lower()
            if len(value) >= _LEAST and value.replace("-", "") in plain:
                raise UnsupportedParameterError(
                    "reason: repeats the person's identifier; name the request instead"
                )


def about_of(
    verb: Verb,
    matter: str,
    number: str,
    who: Who,
    *,
    subject: str = "",
    recipients: tuple[str, ...] = (),
    document: bytes | None = None,
) -> About:
    """Return what the entry of an act on a request says."""
    return About(
        verb=verb,
        matter=f"rights/{matter}",
        recipients=recipients,
        document=document,
        purpose=DISPUTE if matter == Kind.DISPUTE else DUTY,
        subject=subject,
        case=f"{_CASE}{number}",
        reason=who.reason,
    )
