"""Whatever goes wrong while Cedar decides: denied, and the reason stands in the log.

What is broken here is what stands between our values and Cedar, as a mistake in the program
would: Cedar by itself passes over a policy that fails, and permits what it forbids.
"""

from dataclasses import replace
from hashlib import sha256

import cedarpy
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.agreement.coverage import Lookup
from compliance.agreement.vocabulary import Channel
from compliance.clock import FixedClock
from compliance.errors import LogCorruptError, NotPermittedError
from compliance.office.about import About
from compliance.office.opening import open_office
from compliance.policy import policyset
from compliance.policy.actors import Facts, StaffRole
from compliance.policy.decision import Decision
from compliance.policy.errors import PolicyError
from compliance.policy.policyset import PolicySet
from compliance.policy.replay import replay
from protocols.tlog.entry import Decision as Answer
from protocols.tlog.entry import Entry, Outcome, Verb

NOW = 1_795_305_600  # 2026-11-22, 08:00 in Taipei
KEYS = {
    name: Ed25519PrivateKey.from_private_bytes(sha256(name.encode()).digest())
    for name in ("hub", "insurer", "police", "telecom")
}
ABOUT = About(Verb.CONSULT, "epoch-1/counter", subject="token", case="case 7")
CONTEXT, ENTITY = policyset._context, policyset._entity


@pytest.fixture
def office(tmp_path, agree):
    agreed = agree(KEYS)
    agreed.keep(tmp_path)
    clock = FixedClock(NOW)
    with open_office(tmp_path, "insurer", "insurer/audit", agreed.identities, clock=clock) as made:
        yield made


def check(office):
    """An act that is permitted when nothing is broken."""
    return office.permit(
        "check", ABOUT, by=office.person("amy", [StaffRole.DESK]),
        facts=Facts(10, channel="counter", case_present=True),
        question=Lookup("insurer", Channel.COUNTER),
    )  # fmt: skip


def set_policy(office):
    """An act that a safeguard looks at: the second person must be another one."""
    amy, ben = (office.person(name, [StaffRole.APPROVER]) for name in ("amy", "ben"))
    facts = Facts(10, reason_given=True, second=ben)
    return office.permit("set_policy", About(Verb.ALTER, "policy"), by=amy, facts=facts)


def entries(office):
    origin = office.yearly.origin()
    size = office.storage.edge(origin).size
    return [Entry.decode(data) for data in office.storage.entries(origin, 0, size)]


def refused(office):
    """Return the one entry, which must be that of a refusal, and the record beside it."""
    (entry,) = entries(office)
    assert (entry.decision, entry.outcome) == (Answer.DENY, Outcome.REFUSED)
    assert (entry.recipients, entry.count, entry.charge) == ((), 0, None)
    (place,) = office.parts.find_subject("token") or [None]
    part = office.parts.read(place, entry.commitment)
    return entry, Decision.decode(part.decision.encode())


def misspelt_attribute(item):
    made = ENTITY(item)
    return made | {
        "attrs": {name.replace("roles", "rolse"): v for name, v in made["attrs"].items()}
    }


def misspelt_value(situation):
    return {name.replace("hour", "huor"): value for name, value in CONTEXT(situation).items()}


def without(name):
    return lambda situation: {key: v for key, v in CONTEXT(situation).items() if key != name}


BROKEN = {
    "attribute misspelt": ("_entity", misspelt_attribute),
    "context value misspelt": ("_context", misspelt_value),
    "hour missing": ("_context", without("hour")),
    "coverage missing": ("_context", without("covered")),
    "case missing": ("_context", without("case_present")),
    "value of another type": ("_context", lambda s: CONTEXT(s) | {"case_present": "yes"}),
    "value that nobody knows": ("_context", lambda s: CONTEXT(s) | {"trusted": True}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_question_that_does_not_fit_is_denied_and_says_so(office, monkeypatch, name):
    function, broken = BROKEN[name]
    with monkeypatch.context() as patched:
        patched.setattr(policyset, function, broken)
        with pytest.raises(NotPermittedError, match="request error"):
            check(office)
    entry, record = refused(office)
    assert entry.policies == ("error.request",)
    assert (record.allowed, record.errors) == (False, ("request",))
    # Whoever decides again with a sound program sees that it should have been permitted.
    said = replay(record, office.policies, office.agreements, {}.get)
    assert any("denied, the policies say permitted" in word for word in said)
    # The error is not remembered: mended, the same question is permitted.
    assert check(office).allowed


def test_forbid_that_fails_is_denied_and_named_an_error(office, monkeypatch):
    """Without its entity the safeguard of four eyes fails, and Cedar passes over it."""
    decision = set_policy(office)
    office.policies._loaded.clear()  # a set that remembers no answer
    whole = policyset._entities

    def alone(principal, resource, situation):
        return whole(principal, resource, replace(situation, facts=Facts(10)))

    monkeypatch.setattr(policyset, "_entities", alone)
    policies = office.policies.current()
    raw = cedarpy.is_authorized(
        {
            "principal": policyset._uid(decision.principal),
            "action": {"type": "Lianfang::Action", "id": decision.act},
            "resource": policyset._uid(decision.resource),
            "context": CONTEXT(decision.situation),
        },
        policies._policies,
        alone(decision.principal, decision.resource, decision.situation),
        policies._schema,
    )
    assert raw.allowed, "this is what the house rule is against"
    with pytest.raises(NotPermittedError, match="evaluation error"):
        set_policy(office)
    (entry,) = entries(office)
    assert (entry.decision, entry.outcome) == (Answer.DENY, Outcome.REFUSED)
    assert entry.policies == ("approvers-commit", "error.evaluation")


@pytest.mark.parametrize("act", ["sudo", "needs agreement", "check ", "", "evaluate; permit", "權"])
def test_unknown_act_is_denied_and_entered_without_its_word(office, act):
    with pytest.raises(NotPermittedError):
        office.permit(act, ABOUT, by=office.person("amy", [StaffRole.DESK]))
    entry, record = refused(office)
    assert entry.policies == ("error.request",)
    # What comes from outside stands in no entry, unless it is at least a word.
    assert entry.act == record.act == (act if act == "sudo" else "unknown")


MISSPELT = {
    "attribute of the context": "context.hours == 3",
    "attribute of a person": 'principal.rolse.contains("desk")',
    "optional attribute that is not asked for": 'context.second.roles.contains("desk")',
}


@pytest.mark.parametrize("text", MISSPELT.values(), ids=MISSPELT)
def test_policy_with_a_misspelt_attribute_is_never_in_force(office, text):
    before = office.policies.current().digest
    policy = '@id("x") @title("t") @title_zh("t") forbid (principal is Lianfang::Person, '
    policy += f'action == Lianfang::Action::"check", resource) when {{ {text} }};'
    with pytest.raises(PolicyError):
        PolicySet({**office.policies.current().texts, "extra.cedar": policy})
    assert office.policies.current().digest == before
    assert check(office).allowed


def test_damaged_policies_permit_nothing_and_no_act_passes(office):
    digest = office.policies.current().digest
    path = office.policies.directory / f"{digest.hex()}.json"
    path.write_bytes(path.read_bytes().replace(b"context.hour", b"context.huor", 1))
    office.policies._loaded.clear()
    with pytest.raises(LogCorruptError):
        check(office)
    assert entries(office) == []


def test_refused_by_a_policy_has_its_name_in_the_log(office):
    with pytest.raises(NotPermittedError):
        office.permit(
            "check", replace(ABOUT, case=""), by=office.person("amy", [StaffRole.DESK]),
            facts=Facts(10, channel="counter"), question=Lookup("insurer", Channel.COUNTER),
        )  # fmt: skip
    entry, record = refused(office)
    assert entry.policies == record.policies == ("no-case-no-look",)
    assert replay(record, office.policies, office.agreements, {}.get) == ()
