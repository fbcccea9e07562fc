"""Making a decision again, from its record, the policies and the agreement that it names.

An auditor who has the three needs nobody's word: the same policies over the same situation
give the same answer, and the situation is what that agreement says, or the difference is
named. What cannot be made again, because something was not kept, is a difference too.

Whether the agreement was in force is judged by what was kept here at the decision's time: a
version that superseded it, or a revocation that came, only later changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from compliance.agreement.coverage import Coverage, Documents, question_of
from compliance.agreement.document import Agreement
from compliance.agreement.store import AgreementStore, State
from compliance.errors import ComplianceError
from compliance.policy.decision import AGREEMENT, Decision
from compliance.policy.judge import NONE_IN_FORCE, NOT_ASKED
from compliance.policy.store import PolicyStore
from protocols.errors import ProtocolError


def replay(
    record: Decision,
    policies: PolicyStore,
    agreements: AgreementStore,
    documents: Documents = lambda _digest: None,
    *,
    used: Mapping[bytes, int] | None = None,
) -> tuple[str, ...]:
    """Return every difference between a record and the decision made again; none is the proof.

    Args:
        documents: finds run plans and epoch terms by hash, for the questions about them.
        used: since when agreements, by hash, are known to have been decided by.
    """
    return (*_policy_differences(record, policies), *_agreement_differences(
        record, agreements, documents, used or {}
    ))  # fmt: skip


def _policy_differences(record: Decision, policies: PolicyStore) -> list[str]:
    try:
        kept = policies.load(record.policy_set)
    except ComplianceError as error:
        return [str(error)]
    again = kept.decide(
        record.principal, record.act, record.resource, record.situation, at=record.at
    )
    if AGREEMENT in record.errors:
        again = again.with_error(AGREEMENT)
    found = []
    if again.allowed is not record.allowed:
        found.append(f"answer: recorded as {_answer(record)}, the policies say {_answer(again)}")
    if again.policies != record.policies:
        found.append(
            f"policies: recorded {_listed(record.policies)}, decided by {_listed(again.policies)}"
        )
    if set(again.errors) != set(record.errors):
        found.append(f"errors: recorded {_listed(record.errors)}, found {_listed(again.errors)}")
    return found


def _agreement_differences(
    record: Decision,
    agreements: AgreementStore,
    documents: Documents,
    used: Mapping[bytes, int],
) -> list[str]:
    situation = record.situation
    if record.agreement is None:
        found = (
            []
            if not situation.agreement_in_force
            else ["agreement: recorded as in force, but none is named"]
        )
        return found + _coverage_differences(situation.coverage, NONE_IN_FORCE)
    try:
        agreement = agreements.load(record.agreement).agreement
        states = agreements.states_then(record.agreement, record.at, used)
        expected = _asked_again(record, agreement, documents)
    except (ComplianceError, ProtocolError) as error:
        return [str(error)]
    found = []
    if situation.agreement_in_force not in {item is State.IN_FORCE for item in states}:
        recorded = "in force" if situation.agreement_in_force else "not in force"
        found.append(f"agreement: recorded as {recorded}, it was {states[0].replace('_', ' ')}")
    return found + _coverage_differences(situation.coverage, expected)


def _asked_again(record: Decision, agreement: Agreement, documents: Documents) -> Coverage:
    if record.question is None:
        return NOT_ASKED
    return question_of(record.question, documents).ask(agreement)


def _coverage_differences(recorded: Coverage, expected: Coverage) -> list[str]:
    pairs = (
        ("rule", recorded.rule or "none", expected.rule or "none"),
        ("purpose", recorded.purpose or "none", expected.purpose or "none"),
        ("bases", _listed(recorded.bases), _listed(expected.bases)),
    )
    return [
        f"{name}: recorded {before}, the agreement says {after}"
        for name, before, after in pairs
        if before != after
    ]


def _answer(decision: Decision) -> str:
    return "permitted" if decision.allowed else "denied"


def _listed(items: tuple[str, ...]) -> str:
    return ", ".join(items) or "none"
