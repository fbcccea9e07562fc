"""Deciding: the agreement in force is asked, then the policies, and the answer is a record.

    judge = Judge(AgreementStore(...), PolicyStore(...))
    decision = judge.decide(principal, act, resource, facts, now=now, question=question)
    # log the decision, durably; then
    require(decision)

The caller says who acts and what it sees; what the agreement says nobody but the agreement
says. A refusal is logged as well as a permission, so that deciding and requiring are two
steps.
"""

from __future__ import annotations

from dataclasses import dataclass

from compliance.agreement.coverage import Coverage, Question
from compliance.agreement.document import Agreement
from compliance.agreement.store import AgreementStore
from compliance.errors import ComplianceError, NotPermittedError
from compliance.policy.actors import Facts, Organisation, Principal, Situation
from compliance.policy.decision import AGREEMENT, Decision
from compliance.policy.store import PolicyStore

NONE_IN_FORCE = Coverage("agreement", "no agreement is in force")
# An act without a question of its own, such as reading the log: nothing is to be covered.
NOT_ASKED = Coverage()


@dataclass(frozen=True, slots=True)
class Found:
    """The agreement in force, or None; `is_failed` if none could be told from the files."""

    agreement: Agreement | None
    is_failed: bool = False


@dataclass(frozen=True, slots=True)
class Judge:
    """Decides for one organisation."""

    agreements: AgreementStore
    policies: PolicyStore

    def decide(
        self,
        principal: Principal,
        act: str,
        resource: Organisation,
        facts: Facts,
        *,
        now: int,
        question: Question | None = None,
    ) -> Decision:
        """Decide whether `principal` may do `act` to what `resource` owns.

        Args:
            question: what the agreement is asked about this act; acts that need an agreement
                have one.

        Raises:
            LogCorruptError: the policies in force are damaged: there is nothing to decide by.
        """
        return self.decide_under(
            self.found(now), principal, act, resource, facts, now=now, question=question
        )

    def found(self, now: int) -> Found:
        """Look for the agreement in force."""
        try:
            return Found(self.agreements.in_force(now))
        except ComplianceError:
            # Denied below, whatever the policies say without an agreement.
            return Found(None, is_failed=True)

    def decide_under(
        self,
        under: Found,
        principal: Principal,
        act: str,
        resource: Organisation,
        facts: Facts,
        *,
        now: int,
        question: Question | None = None,
    ) -> Decision:
        """As `decide`, with the agreement that was found just now."""
        found = under.agreement
        decision = self.policies.current().decide(
            principal,
            act,
            resource,
            situation_of(found, question, facts),
            at=now,
            agreement=None if found is None else found.digest,
            question=None if question is None else question.fields(),
        )
        return decision.with_error(AGREEMENT) if under.is_failed else decision


def situation_of(agreement: Agreement | None, question: Question | None, facts: Facts) -> Situation:
    """Put together what the place knows and what the agreement says."""
    if agreement is None:
        coverage = NONE_IN_FORCE
    else:
        coverage = NOT_ASKED if question is None else question.ask(agreement)
    return Situation(facts, agreement is not None, coverage)


def require(decision: Decision) -> Decision:
    """Return the decision if it permits.

    Raises:
        NotPermittedError: it does not; says which policy or rule stands against it.
    """
    if not decision.allowed:
        raise NotPermittedError(f"{decision.act}: {decision.reason}")
    return decision
