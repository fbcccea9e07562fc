"""Default deny, errors deny, and a set that is named by every one of its bytes."""

from dataclasses import replace

import cedarpy
import pytest

from compliance.agreement.coverage import Coverage
from compliance.agreement.drafting import FRAUD
from compliance.agreement.vocabulary import Role
from compliance.policy import policyset
from compliance.policy.actors import Facts, Organisation, Situation, StaffRole
from compliance.policy.decision import EVALUATION, REQUEST, Decision
from compliance.policy.errors import PolicyError
from compliance.policy.policyset import SCHEMA, PolicySet, shipped_policies
from protocols.errors import MalformedMessageError

INSURER, HUB = Organisation("insurer", Role.INSURER), Organisation("hub", Role.HUB)
IN_ORDER = Situation(Facts(10), True, Coverage(purpose=FRAUD, bases=("tw/pdpa-20",)))


def with_policy(policies, text):
    return PolicySet({**policies.texts, "extra.cedar": text})


def test_the_shipped_set_is_valid_and_permits_what_it_should(policies):
    decision = policies.decide(INSURER, "evaluate", HUB, IN_ORDER, at=1)
    assert (decision.allowed, decision.policies) == (True, ("partners-take-part",))
    assert decision.policy_set == policies.digest


@pytest.mark.parametrize("act", ["", "sudo", "needs agreement", "evaluate2", "a" * 99, "\ud800"])
def test_unknown_acts_are_denied(policies, act):
    decision = policies.decide(INSURER, act, HUB, IN_ORDER, at=1)
    assert (decision.allowed, decision.errors, decision.policies) == (False, (REQUEST,), ())
    decision.encode()


def test_what_no_policy_permits_is_denied(policies):
    decision = policies.decide(HUB, "evaluate", HUB, IN_ORDER, at=1)
    assert (decision.allowed, decision.errors, decision.policies) == (False, (), ())


def test_one_name_for_two_things_is_denied(policies):
    masked = Organisation("insurer", Role.HUB)
    decision = policies.decide(INSURER, "evaluate", masked, IN_ORDER, at=1)
    assert (decision.allowed, decision.errors) == (False, (REQUEST,))


@pytest.mark.parametrize("missing", ["covered", "agreement_in_force", "bases", "hour"])
def test_a_context_that_lacks_a_field_is_denied(policies, monkeypatch, missing):
    whole = policyset._context
    monkeypatch.setattr(
        policyset, "_context",
        lambda situation: {k: v for k, v in whole(situation).items() if k != missing},
    )  # fmt: skip
    decision = policies.decide(INSURER, "evaluate", HUB, IN_ORDER, at=1)
    assert (decision.allowed, decision.errors) == (False, (REQUEST,))


@pytest.mark.parametrize("item", [{"hour": "ten"}, {"covered": None}, {"more": 1}])
def test_a_context_of_another_shape_is_denied(policies, monkeypatch, item):
    whole = policyset._context
    monkeypatch.setattr(policyset, "_context", lambda situation: whole(situation) | item)
    decision = policies.decide(INSURER, "evaluate", HUB, IN_ORDER, at=1)
    assert (decision.allowed, decision.errors) == (False, (REQUEST,))


def test_a_policy_that_fails_denies_although_cedar_permits(policies, monkeypatch):
    """Without its entity a safeguard fails; Cedar passes over it and permits."""
    whole = policyset._entities
    person = policyset.Person(bytes(16), INSURER, frozenset({StaffRole.APPROVER}))
    second = replace(person, pseudonym=bytes(15) + b"\x01")
    situation = replace(IN_ORDER, facts=Facts(10, second=second))
    assert policies.decide(person, "release_score", INSURER, situation, at=1).allowed
    policies = PolicySet.decode(policies.encode())  # one that remembers no answer
    alone = whole(person, INSURER, IN_ORDER)
    monkeypatch.setattr(policyset, "_entities", lambda *_: alone)
    raw = cedarpy.is_authorized(
        {
            "principal": policyset._uid(person),
            "action": {"type": "Lianfang::Action", "id": "release_score"},
            "resource": policyset._uid(INSURER),
            "context": policyset._context(situation),
        },
        policies._policies, alone, policies._schema,
    )  # fmt: skip
    assert raw.allowed, "this is what the house rule is against"
    decision = policies.decide(person, "release_score", INSURER, situation, at=1)
    assert (decision.allowed, decision.errors) == (False, (EVALUATION,))


def test_hash_changes_with_any_byte(policies):
    seen = {policies.digest}
    for name, text in policies.texts.items():
        for changed in (text + "\n", text.replace("T", "t", 1), "// x\n" + text):
            if changed != text:
                seen.add(PolicySet({**policies.texts, name: changed}).digest)
    renamed = dict(policies.texts)
    renamed["people2.cedar"] = renamed.pop("people.cedar")
    seen.add(PolicySet(renamed).digest)
    assert len(seen) >= 2 + 2 * len(policies.texts)
    assert shipped_policies().digest == policies.digest


NOTES = '@id("x") @title("t") @title_zh("t") '
ERASE = 'forbid (principal, action == Lianfang::Action::"erase", resource) when '
JOIN = """permit (principal is Lianfang::Organisation,
    action == Lianfang::Action::"join", resource) when """


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("permit (principal, action, resource);", "@id"),
        ('@id("x") permit (principal, action, resource);', "@title"),
        ('@id("x") @title("t") permit (principal, action, resource);', "@title_zh"),
        (NOTES.replace("x", "four-eyes") + "permit (principal, action, resource);", "two have"),
        (NOTES + "permit (principal, action, resource) when {", "cannot be read"),
        (NOTES + "permit (principal, action, resource) when { context.hours == 3 };", "schema"),
        (NOTES + ERASE + '{ context.second.roles.contains("desk") };', "schema"),
        (NOTES + JOIN + '{ principal.kind == "insurrer" };', "insurrer is no role"),
        (NOTES + ERASE + "{ context.hour + 9223372036854775807 > 3 };", r"\+ may fail"),
        (NOTES + ERASE + "{ -context.hour < 3 };", "neg may fail"),
        (NOTES + ERASE + '{ decimal("0.1").lessThan(decimal("0.2")) };', "may fail"),
        (NOTES + ERASE + '{ context.purpose like "*Fraud*" };', "like may fail"),
        (NOTES + "permit (principal == ?principal, action, resource);", "template"),
    ],
)
def test_a_set_that_breaks_a_rule_is_never_used(policies, text, said):
    with pytest.raises(PolicyError, match=said):
        with_policy(policies, text)


def test_schema_and_suffixes_are_checked(policies):
    texts = dict(policies.texts)
    with pytest.raises(PolicyError, match="missing"):
        PolicySet({SCHEMA: texts[SCHEMA]})
    with pytest.raises(PolicyError, match=r"no \.cedar file"):
        PolicySet({**texts, "notes.txt": "x"})
    with pytest.raises(PolicyError, match="cannot be read"):
        PolicySet({**texts, SCHEMA: "entity ;"})


def test_kept_and_read_a_set_is_the_same(policies):
    again = PolicySet.decode(policies.encode())
    assert (again.digest, again.texts, again.acts) == (
        policies.digest, policies.texts, policies.acts,
    )  # fmt: skip
    for wrong in (b"", b"{}", b'{"files":{"a":1},"format":"lianfang/policy/set/v1"}'):
        with pytest.raises(MalformedMessageError):
            PolicySet.decode(wrong)


def test_records_are_read_back_whole_and_nothing_else_is(policies, court):
    decision = policies.decide(
        court.person("operator", "hub"), "begin_epoch", HUB,
        replace(IN_ORDER, facts=Facts(9, second=court.person("approver", "hub", 2))),
        at=7, agreement=bytes(32), question={"kind": "publication", "contributor": "police"},
    )  # fmt: skip
    data = decision.encode()
    assert Decision.decode(data) == decision
    for cut in range(0, len(data), 7):
        with pytest.raises(MalformedMessageError):
            Decision.decode(data[:cut])
    for wrong in (data + b" ", data.replace(b'"hour":9', b'"hour":24'), b"{}"):
        with pytest.raises(MalformedMessageError):
            Decision.decode(wrong)


def test_every_policy_has_a_title_for_people(policies):
    for title in policies.titles.values():
        assert title.en.endswith(".")
        assert title.zh.endswith("。")
