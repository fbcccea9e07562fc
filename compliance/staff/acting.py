"""Who acts: a person that has proved its account, or the organisation's own program.

    who = identify(staff, office, name=..., second=..., ask=...)
    decision = who.permit(office, "pin_key", about, what="pin the key of telecom")
    ...
    office.enter(decision, about)

An act that needs a second person has one at once (`second`), or finds the consent that was
given for exactly this act, or files a request for it and is refused until then. A consent is
used up before the act is permitted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from compliance.agreement.coverage import Question
from compliance.configuration import ConfigError
from compliance.errors import NotPermittedError
from compliance.office.about import About
from compliance.office.office import Office
from compliance.policy.actors import (
    PSEUDONYM_SIZE,
    Facts,
    Organisation,
    Person,
    Principal,
    StaffRole,
    hour_at,
)
from compliance.policy.decision import REQUEST, Decision
from compliance.staff.accounts import Account
from compliance.staff.consents import Request, Stage, digest_of
from compliance.staff.staff import Staff

AskPassword = Callable[[str], str]
"""Asks for the password of an account by its name."""


@dataclass(frozen=True, slots=True)
class Acting:
    """Who acts, and who agreed at once.

    Args:
        by: a person, or the organisation's own program.
        second: who proved to agree, at the same terminal; None leaves it to a consent.
        account, second_account: their names here; empty for a program, or nobody.
        staff: where consents and emergencies are kept.
        agree: the command by which another agrees, with `{number}` in it.
    """

    by: Principal
    second: Person | None
    account: str = field(default="", repr=False)
    second_account: str = field(default="", repr=False)
    staff: Staff | None = field(default=None, repr=False)
    agree: str = field(default="", repr=False)

    def facts(
        self, office: Office, *, channel: str = "", case: str = "", reason: str = ""
    ) -> Facts:
        """Return what is known here about the situation, an emergency of this person included."""
        now = office.clock.now()
        return Facts(
            hour=hour_at(now),
            channel=channel,
            case_present=bool(case.strip()),
            reason_given=bool(reason.strip()),
            glass_broken=self._breaks_glass(now),
            second=self.second,
        )

    def permit(
        self,
        office: Office,
        act: str,
        about: About,
        *,
        what: str = "",
        to: Organisation | None = None,
        facts: Facts | None = None,
        question: Question | None = None,
        details: object = None,
    ) -> Decision:
        """Return a permission, as `Office.permit`, also by a consent that was given before.

        Args:
            what: the act in words for the one who agrees, naming no person that data are
                about; act and matter if empty.
            facts: `self.facts` of the case and the reason of `about` if None.
            details: JSON that tells this act from all others, and is the same when the
                command is repeated; all of `about` but its charge if None. Tokens of persons
                may be in it, their identifiers not.

        Raises:
            NotPermittedError: also where the request for a second person waits; says how one
                agrees.
        """
        given = facts or self.facts(office, case=about.case, reason=about.reason)
        given = replace(given, second=given.second or self.second)
        named = what or f"{act} {about.matter}"
        details = _details(about) if details is None else details
        ask = _Asked(office, self.by, act, to, given, question)
        if not self.account:
            return _by_program(ask, about)
        if self.staff is None or given.second is not None:
            return ask.permit(about)
        if ask.is_allowed() or not ask.is_allowed(with_second=_somebody(office)):
            return ask.permit(about)
        shown = {"details": details, "to": "" if to is None else to.name}
        request = self._request(self.staff, ask, named, shown)
        second = self._use(self.staff, office, ask, request)
        if second is not None:
            return replace(ask, facts=replace(given, second=second)).permit(about)
        return self._refuse(ask, about, request)

    def perform(
        self,
        office: Office,
        act: str,
        about: About,
        *,
        what: str = "",
        to: Organisation | None = None,
        facts: Facts | None = None,
        question: Question | None = None,
        details: object = None,
    ) -> Decision:
        """As `permit`, and the act is entered as done: it is done after this returns."""
        decision = self.permit(
            office, act, about,
            what=what, to=to, facts=facts, question=question, details=details,
        )  # fmt: skip
        office.enter(decision, about)
        return decision

    def _breaks_glass(self, now: int) -> bool:
        if self.staff is None or not self.account:
            return False
        return self.staff.emergencies.broken_by(self.account, now)

    def _request(self, staff: Staff, ask: _Asked, what: str, shown: object) -> Request:
        fields = None if ask.question is None else ask.question.fields()
        digest = digest_of(ask.act, what, {"question": fields, "shown": shown})
        now = ask.office.clock.now()
        return staff.consents.file(ask.act, what, digest, self.account, now=now)

    def _use(self, staff: Staff, office: Office, ask: _Asked, request: Request) -> Person | None:
        """Use the consent up; None if there is none, or it permits nothing."""
        agreed = staff.find(request.by) if request.stage is Stage.AGREED else None
        if agreed is None or not agreed.is_active:
            return None
        second = person_of(office, agreed)
        if not ask.is_allowed(with_second=second):
            return None
        used = staff.consents.consume(request.number, now=office.clock.now())
        return None if used is None else second

    def _refuse(self, ask: _Asked, about: About, request: Request) -> Decision:
        try:
            return ask.permit(about)
        except NotPermittedError as error:
            raise NotPermittedError(f"{error}; {self._told(request)}") from error

    def _told(self, request: Request) -> str:
        match request.stage:
            case Stage.WAITING:
                how = self.agree.format(number=request.number)
                return (
                    f"request {request.number} waits for a second person: {how}, "
                    "then repeat this command"
                )
            case Stage.DECLINED:
                return f"request {request.number} was declined: {request.reason}"
            case _:
                return (
                    f"the consent {request.number} cannot be used: it was used in this moment, "
                    "or who gave it may agree no longer; add --second"
                )


def _by_program(ask: _Asked, about: About) -> Decision:
    """Ask for a program; where only people may, say how a person is named."""
    try:
        return ask.permit(about)
    except NotPermittedError as error:
        if ask.is_for_people():
            raise NotPermittedError(
                f"{error}; only people may: name your account with --as"
            ) from error
        raise


@dataclass(frozen=True, slots=True)
class _Asked:
    """One question to the office."""

    office: Office
    by: Principal
    act: str
    to: Organisation | None
    facts: Facts
    question: Question | None

    def is_allowed(self, *, with_second: Person | None = None) -> bool:
        """Ask without entering anything."""
        facts = self.facts if with_second is None else replace(self.facts, second=with_second)
        return self.office.decide(
            self.act, by=self.by, to=self.to, facts=facts, question=self.question
        ).allowed

    def is_for_people(self) -> bool:
        """Whether the act is one that no program does, whoever asks and whatever is agreed."""
        decision = self.office.decide(
            self.act, by=self.by, to=self.to, facts=self.facts, question=self.question
        )
        return REQUEST in decision.errors

    def permit(self, about: About) -> Decision:
        """Ask, and enter a denial."""
        return self.office.permit(
            self.act, about, by=self.by, to=self.to, facts=self.facts, question=self.question
        )


def identify(
    staff: Staff,
    office: Office,
    *,
    name: str = "",
    second: str = "",
    ask: AskPassword,
    agree: str = "",
) -> Acting:
    """Return who acts, once the passwords are right.

    Args:
        name: of the account; the organisation's own program if empty.
        second: of the account that agrees at once.

    Raises:
        CredentialsError: an account and its password are not accepted.
        ConfigError: a second person without a first.
    """
    if not name:
        if second:
            raise ConfigError("--second: needs --as as well; say who acts")
        return Acting(office.own, None)
    one = staff.verify(name, ask(name), now=office.clock.now())
    other = staff.verify(second, ask(second), now=office.clock.now()) if second else None
    return Acting(
        by=person_of(office, one),
        second=None if other is None else person_of(office, other),
        account=one.name,
        second_account="" if other is None else other.name,
        staff=staff,
        agree=agree,
    )


def person_of(office: Office, account: Account) -> Person:
    """Return an account as policies and entries know it."""
    return office.person(account.name, account.roles)


def _somebody(office: Office) -> Person:
    """Return a second person that is nobody: to find out whether one is all that is missing."""
    roles = frozenset({StaffRole.APPROVER, StaffRole.COMPLIANCE})
    return Person(bytes(PSEUDONYM_SIZE), office.own, roles)


def _details(about: About) -> dict[str, object]:
    return {
        "verb": about.verb.value,
        "matter": about.matter,
        "recipients": list(about.recipients),
        "count": about.count,
        "document": None if about.document is None else about.document.hex(),
        "purpose": about.purpose,
        "subject": about.subject,
        "case": about.case,
        "reason": about.reason,
    }
