"""Decide, enter, then act: the one way in which anything is done at an organisation.

    decision = office.permit("evaluate", about, by=caller, question=Lookup(...))
    ...charge...
    office.enter(decision, about)
    # only now may the answer leave

A refusal is entered before it is told. Whoever has done something calls `enter` with the
outcome; it returns when the entry is durable, and where the log cannot be written it raises
and nothing may leave. Every entry carries, in its private part, the record from which the
decision can be made again (`compliance.policy.replay`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from compliance.agreement.coverage import Epoch, Question, Run, Scores
from compliance.agreement.document import Agreement
from compliance.agreement.store import AgreementStore
from compliance.agreement.vocabulary import Role
from compliance.clock import Clock
from compliance.errors import ComplianceError
from compliance.log.private import PrivateParts
from compliance.log.storage import Place, Storage
from compliance.log.yearly import YearlyLog
from compliance.office.about import About, entry_of, seal_part
from compliance.office.once import Alone, Once
from compliance.operation.observing import UNOBSERVED, Append, Observes
from compliance.policy.actors import (
    Facts,
    Organisation,
    Person,
    Principal,
    StaffRole,
    hour_at,
)
from compliance.policy.decision import Decision
from compliance.policy.judge import Found, Judge, require
from compliance.policy.store import PolicyStore
from compliance.shelf import Shelf, shelf_of
from protocols.tlog.entry import Agreement as Named
from protocols.tlog.entry import Outcome
from protocols.tlog.policy import Policy
from protocols.tlog.private import pseudonym

HUB = "hub"


class Office:
    """One organisation's; for any number of threads, and of processes over one storage.

    Args:
        policy_of: by which the checkpoints of an origin are published.
        documents: where plans and terms are kept that decisions were about, for `replay`.
        alone: keeps other processes from an act of a name meanwhile; None where no other
            process is asked for the same acts.
        kind: of the organisation itself, where it does not follow from an agreement.
        pseudonyms: 32 bytes that the organisation alone has: actors are told apart by them.
        ending: what is to be given back with the office.
    """

    def __init__(
        self,
        name: str,
        *,
        agreements: AgreementStore,
        policies: PolicyStore,
        yearly: YearlyLog,
        storage: Storage,
        parts: PrivateParts,
        pseudonyms: bytes,
        clock: Clock,
        policy_of: Callable[[str], Policy],
        documents: Path | Shelf,
        alone: Alone | None = None,
        kind: Role | None = None,
        ending: ExitStack | None = None,
    ) -> None:
        self.name = name
        self.agreements = agreements
        self.policies = policies
        self.yearly = yearly
        self.storage = storage
        self.parts = parts
        self.clock = clock
        # What measures entries; whoever watches this process sets it.
        self.observer: Observes = UNOBSERVED
        self.policy_of = policy_of
        self._documents = shelf_of(documents)
        self._judge = Judge(agreements, policies)
        self._once = Once(storage, parts, alone)
        self._pseudonyms = pseudonyms
        self._kind = kind
        self._names: dict[bytes, Named] = {}
        self._ending = ending or ExitStack()

    @property
    def own(self) -> Organisation:
        """The organisation itself, as its programs act for it."""
        return self.party(self.name)

    def party(self, name: str) -> Organisation:
        """Return an organisation with its role in the agreement in force, else in the newest."""
        return self._party(name, self._judge.found(self.clock.now()))

    def person(self, account: str, roles: Iterable[StaffRole]) -> Person:
        """Return a member of the own staff under the pseudonym that entries have for it."""
        return Person(pseudonym(self._pseudonyms, account), self.own, frozenset(roles))

    def agreement(self) -> Agreement | None:
        """Return the agreement in force now, or None.

        Raises:
            NotPermittedError: two are. LogCorruptError: files are damaged.
        """
        return self.agreements.in_force(self.clock.now())

    def decide(
        self,
        act: str,
        *,
        by: Principal | str | None = None,
        to: Organisation | str | None = None,
        facts: Facts | None = None,
        question: Question | None = None,
    ) -> Decision:
        """Decide; nothing is entered.

        Args:
            by: who acts, an organisation's program by its name; our own if None.
            to: whose it is done to; ourselves if None.
            facts: what only the caller knows; the hour alone if None.

        Raises:
            LogCorruptError: the policies are damaged.
        """
        now = self.clock.now()
        self._keep(question)
        under = self._judge.found(now)
        principal = self.name if by is None else by
        resource = self.name if to is None else to
        return self._judge.decide_under(
            under,
            self._party(principal, under) if isinstance(principal, str) else principal,
            act,
            self._party(resource, under) if isinstance(resource, str) else resource,
            facts or Facts(hour=hour_at(now)),
            now=now,
            question=question,
        )

    def permit(
        self,
        act: str,
        about: About,
        *,
        by: Principal | str | None = None,
        to: Organisation | str | None = None,
        facts: Facts | None = None,
        question: Question | None = None,
    ) -> Decision:
        """Return a permission, which is entered with what came of it; enter a denial and raise.

        Raises:
            NotPermittedError: names the policy or rule that stands against the act.
            StorageError, LogCorruptError: the log or the policies cannot be used.
        """
        decision = self.decide(act, by=by, to=to, facts=facts, question=question)
        if not decision.allowed:
            self.enter(decision, about, Outcome.REFUSED)
        return require(decision)

    def perform(
        self,
        act: str,
        about: About,
        *,
        by: Principal | str | None = None,
        to: Organisation | str | None = None,
        facts: Facts | None = None,
        question: Question | None = None,
    ) -> Decision:
        """As `permit`, and the act is entered as done: it is done after this returns."""
        decision = self.permit(act, about, by=by, to=to, facts=facts, question=question)
        self.enter(decision, about)
        return decision

    def enter(
        self,
        decision: Decision,
        about: About,
        outcome: Outcome = Outcome.DONE,
        *,
        is_new: bool = False,
    ) -> Place:
        """Enter what came of a decided act; durable when this returns.

        Args:
            is_new: nobody can have entered an act of `once` but this process, just now.

        Raises:
            ValueError: no entry can hold it. StorageError, LogCorruptError: as `Log.append`.
        """
        return self._enter(decision, about, outcome, is_new=is_new)

    def enter_refusal(self, decision: Decision, about: About, code: str) -> Place:
        """Enter that something else than the policies refused, such as a quota; by its code."""
        return self._enter(decision, about, Outcome.REFUSED, code=code)

    def enter_failure(self, decision: Decision, about: About, code: str) -> Place:
        """Enter that a permitted act, which may have been paid for, could not be done."""
        return self._enter(decision, about, Outcome.FAILED, code=code)

    def close(self) -> None:
        """Give the storage back."""
        self._ending.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _enter(
        self,
        decision: Decision,
        about: About,
        outcome: Outcome,
        *,
        code: str = "",
        is_new: bool = False,
    ) -> Place:
        entry = entry_of(
            decision,
            about,
            outcome,
            at=self.clock.now(),
            actor=self._actor(decision.principal),
            agreement=self._named(decision.agreement),
            code=code,
        )

        def append() -> Place:
            part = seal_part(self.parts, decision, about)
            with self.observer.during(Append()):
                return self.yearly.append(replace(entry, commitment=part.commitment), part)

        if not about.once:
            return append()
        key = (about.subject, entry.organisation, entry.act, outcome)
        return self._once.place(key, append, is_new=is_new)

    def document(self, digest: bytes) -> bytes | None:
        """Return a plan or terms that a decision was about; None if it is not kept here."""
        return self._documents.get(f"{digest.hex()}.json")

    def _keep(self, question: Question | None) -> None:
        """Keep what a question is about: its record names it by its hash alone."""
        match question:
            case Run(plan) | Scores(plan):
                digest, data = plan.digest, plan.encode()
            case Epoch(terms):
                digest, data = terms.digest, terms.encode()
            case _:
                return
        name = f"{digest.hex()}.json"
        if self._documents.get(name) is None:
            self._documents.put_new(name, data)

    def _actor(self, principal: Principal) -> bytes:
        if isinstance(principal, Person):
            return principal.pseudonym
        return pseudonym(self._pseudonyms, principal.name)

    def _named(self, digest: bytes | None) -> Named | None:
        if digest is None:
            return None
        if digest not in self._names:
            self._names[digest] = Named(self.agreements.load(digest).agreement.name, digest)
        return self._names[digest]

    def _party(self, name: str, under: Found) -> Organisation:
        if name == HUB:
            return Organisation(name, Role.HUB)
        if name == self.name and self._kind is not None:
            return Organisation(name, self._kind)
        return Organisation(name, self._role(name, under))

    def _role(self, name: str, under: Found) -> Role | None:
        """Return a party's role; what cannot be read is reported by the decision itself."""
        found = under.agreement
        try:
            if found is None and not under.is_failed and (known := self.agreements.digests()):
                found = self.agreements.load(known[-1]).agreement
        except ComplianceError:
            return None
        party = None if found is None else found.party(name)
        return None if party is None else party.role
