"""What an entry says of an act, beside who decided it and how."""

from __future__ import annotations

from dataclasses import dataclass, field

from compliance.log.private import PrivateParts
from compliance.log.storage import SealedPart
from compliance.policy.actors import Person
from compliance.policy.decision import Decision
from protocols.tlog.entry import MAX_NAMES, Charge, Entry, Outcome, Verb
from protocols.tlog.entry import Agreement as Named
from protocols.tlog.entry import Decision as Answer
from protocols.tlog.private import PrivatePart

DETECTION = "https://w3id.org/dpv#FraudPreventionAndDetection"
DATABASE = "https://w3id.org/dpv#MaintainFraudDatabase"
# What stands in `basis` and `policies` where there is nothing to name.
NO_BASIS = "none"
DEFAULT_DENY = "default-deny"
# By this rule, and by no policy, the first accounts of a directory are made.
SET_UP_RULE = "staff.set-up"
# By these, people sign in and out, and an issuer's groups say what roles they have: no policy
# can be asked before it is known who acts.
SIGN_IN_RULE = "staff.sign-in"
ISSUER_RULE = "staff.issuer"
RULES = {
    SET_UP_RULE: "an account of the set-up",
    SIGN_IN_RULE: "how staff sign in",
    ISSUER_RULE: "roles by the word of the issuer of staff identities",
}


@dataclass(frozen=True, slots=True)
class About:
    """What was done, to what, for whom.

    Args:
        matter: the data set, model or key that is acted upon, such as `epoch-3/counter`;
            never a person.
        count: how many items, if that is not itself a secret.
        document: SHA-256 of a public document that the entry puts on record.
        purpose: an IRI, which counts where the decision names none.
        subject, case, reason: of the private part; the owner finds the entry by the first two.
        once: the act has one entry, however often it is asked for: it is known by `subject`,
            by who acts, what and with which outcome.
    """

    verb: Verb
    matter: str
    recipients: tuple[str, ...] = ()
    count: int = 0
    document: bytes | None = None
    charge: Charge | None = None
    purpose: str = DETECTION
    subject: str = field(default="", repr=False)
    case: str = field(default="", repr=False)
    reason: str = field(default="", repr=False)
    once: bool = False


def entry_of(
    decision: Decision,
    about: About,
    outcome: Outcome,
    *,
    at: int,
    actor: bytes,
    agreement: Named | None,
    code: str = "",
) -> Entry:
    """Return the entry of a decided act, without its place and its commitment.

    Args:
        code: what else stood against an act that the policies permit, or made it fail.
    """
    refused = outcome is Outcome.REFUSED
    coverage = decision.situation.coverage
    return Entry(
        sequence=0,
        time=at,
        organisation=organisation_of(decision),
        actor=actor,
        verb=about.verb,
        act=decision.act,
        purpose=coverage.purpose or about.purpose,
        basis=coverage.bases[0] if coverage.bases else NO_BASIS,
        agreement=agreement,
        policy_set=decision.policy_set,
        policies=_policies(decision, outcome, code),
        decision=Answer.DENY if refused else Answer.PERMIT,
        outcome=outcome,
        subject_matter=about.matter,
        recipients=() if refused else about.recipients,
        count=0 if refused else about.count,
        document=about.document,
        charge=None if refused else about.charge,
        commitment=bytes(32),
    )


def seal_part(parts: PrivateParts, decision: Decision, about: About) -> SealedPart:
    """Encrypt who and why, with the whole record of the decision."""
    record = decision.encode().decode()
    return parts.seal(PrivatePart(about.subject, about.case, about.reason, record))


def organisation_of(decision: Decision) -> str:
    """Return the name of the organisation that acts, be it by a person or a program."""
    principal = decision.principal
    home = principal.organisation if isinstance(principal, Person) else principal
    return home.name


def _policies(decision: Decision, outcome: Outcome, code: str) -> tuple[str, ...]:
    """Return what decided, and what else stood against it.

    A refusal by another rule is that rule's alone: the policies had permitted the act.
    """
    if outcome is Outcome.REFUSED and code:
        return (code,)
    found = list(decision.policies)
    if code:
        return (*found[: MAX_NAMES - 1], code)
    if not decision.allowed:
        # An act of which the agreement was not asked is none that it could stand against.
        rule = "" if decision.question is None else decision.situation.coverage.rule
        found += [f"error.{error}" for error in decision.errors]
        found += [f"agreement.{rule}"] if rule else []
    return tuple(found[:MAX_NAMES]) or (DEFAULT_DENY,)
