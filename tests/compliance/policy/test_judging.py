"""Deciding with the agreement in force, keeping policies, and deciding again from the record."""

from dataclasses import replace

import pytest

from compliance.agreement.coverage import Coverage, Lookup, Publication
from compliance.agreement.drafting import FRAUD
from compliance.agreement.revocation import revoke
from compliance.agreement.vocabulary import Channel
from compliance.errors import LogCorruptError, NotPermittedError
from compliance.policy.actors import Facts, hour_at
from compliance.policy.decision import AGREEMENT, Decision
from compliance.policy.judge import require
from compliance.policy.policyset import PolicySet
from compliance.policy.replay import replay
from compliance.policy.store import PolicyStore

AT_DESK = Facts(10, channel="counter", case_present=True)


def check(court, **changes):
    found = {
        "principal": court.person("desk"), "act": "check",
        "resource": court.organisation("insurer"), "facts": AT_DESK,
        "now": court.now, "question": Lookup("insurer", Channel.COUNTER),
    } | changes  # fmt: skip
    return court.judge.decide(**found)


def again(court, decision, documents=None):
    record = Decision.decode(decision.encode())
    return replay(record, court.judge.policies, court.judge.agreements, documents or {}.get)


def test_a_covered_check_is_permitted_and_carries_what_the_log_needs(court):
    decision = require(check(court))
    assert decision.agreement == court.agreement.digest
    assert decision.policy_set == court.judge.policies.current().digest
    assert decision.policies == ("desk-checks",)
    assert decision.situation.coverage.purpose == FRAUD
    assert decision.situation.coverage.bases == ("tw/pdpa-20", "tw/rules-17")


def test_without_an_agreement_no_act(court):
    late = court.agreement.not_after
    decision = check(court, now=late)
    assert (decision.allowed, decision.agreement) == (False, None)
    assert "no-agreement-no-act" in decision.policies
    assert "agreement: no agreement is in force" in decision.reason
    with pytest.raises(NotPermittedError, match="no-agreement-no-act"):
        require(decision)


def test_revoked_is_refused_at_once(court):
    assert check(court).allowed
    word = revoke(court.keys["police"], court.agreement, "police", reason="x", now=court.now)
    court.judge.agreements.keep_revocation(word, now=court.now)
    assert not check(court).allowed


def test_an_act_that_needs_an_agreement_needs_a_question(court):
    assert not check(court, question=None).allowed


def test_what_the_agreement_does_not_cover_is_refused_by_name(court):
    decision = court.judge.decide(
        court.organisation("insurer"), "publish", court.organisation("insurer"), Facts(10),
        now=court.now, question=Publication("insurer"),
    )  # fmt: skip
    assert not decision.allowed
    assert "channels: insurer may not ask in the channel publish" in decision.reason


def test_a_damaged_agreement_denies_everything(court):
    path = next(court.judge.agreements.directory.glob("*.hub.signature"))
    path.write_text("00" * 64)
    decision = check(court)
    assert (decision.allowed, decision.errors) == (False, (AGREEMENT,))
    # Also an act that would do without an agreement: nobody knows what is agreed.
    officer = court.judge.decide(
        court.person("compliance"), "export_pack", court.organisation("insurer"),
        Facts(10, reason_given=True), now=court.now,
    )  # fmt: skip
    assert (officer.allowed, officer.errors) == (False, (AGREEMENT,))


def test_replay_gives_the_same_answer(court):
    permitted = check(court)
    denied = check(court, facts=replace(AT_DESK, case_present=False))
    ended = check(court, now=court.agreement.not_after)
    officer = court.judge.decide(
        court.person("compliance"), "export_pack", court.organisation("insurer"),
        Facts(10, reason_given=True), now=court.now,
    )  # fmt: skip
    unknown = check(court, act="sudo")
    assert officer.allowed
    for decision in (permitted, denied, ended, officer, unknown):
        assert again(court, decision) == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"allowed": False}, "answer: recorded as denied, the policies say permitted"),
        ({"policies": ("desk-emergency",)}, "policies: recorded desk-emergency"),
        ({"act": "screen"}, "answer"),
        ({"errors": ("evaluation",)}, "errors: recorded evaluation, found none"),
        ({"policy_set": bytes(32)}, "never kept"),
        ({"agreement": bytes(32)}, "not here"),
        ({"agreement": None}, "none is named"),
        ({"question": {"kind": "publication", "contributor": "police"}}, "purpose: recorded"),
        ({"question": {"kind": "lookup", "asker": "bank", "channel": "counter"}},
         "rule: recorded none, the agreement says askers"),
        ({"question": {"kind": "run", "document": "00" * 32}}, "not at hand"),
        ({"at": 1}, "recorded as in force, it was awaited"),
    ],
)  # fmt: skip
def test_replay_names_the_difference(court, changes, said):
    forged = replace(check(court), **changes)
    assert any(said in difference for difference in again(court, forged)), again(court, forged)


def test_replay_finds_a_basis_that_the_agreement_does_not_name(court):
    decision = check(court)
    coverage = Coverage(purpose=FRAUD, bases=("tw/pdpa-20-1",))
    forged = replace(decision, situation=replace(decision.situation, coverage=coverage))
    assert any(difference.startswith("bases") for difference in again(court, forged))


def test_replay_after_the_policies_changed_uses_the_old_ones(court):
    decision = check(court)
    texts = dict(court.judge.policies.current().texts)
    texts["people.cedar"] = texts["people.cedar"].replace('contains("desk")', 'contains("analyst")')
    court.judge.policies.adopt(PolicySet(texts))
    assert not check(court).allowed
    assert again(court, decision) == ()
    assert len(court.judge.policies.digests()) == 2


def test_replay_goes_by_what_was_here_and_not_by_the_date_of_a_revocation(court):
    decision = check(court)
    word = revoke(court.keys["hub"], court.agreement, "hub", reason="x", now=court.now - 50)
    court.judge.agreements.keep_revocation(word, now=court.now)
    # It came after the decision, with an earlier date.
    assert again(court, decision) == ()
    late = replace(decision, at=court.now + 60)
    assert any("it was revoked" in difference for difference in again(court, late))


def test_replay_goes_by_the_date_of_a_revocation_that_has_no_note(court):
    decision = check(court)
    word = revoke(court.keys["hub"], court.agreement, "hub", reason="x", now=court.now - 50)
    court.judge.agreements.keep_revocation(word, now=court.now)
    for note in (court.judge.agreements.directory / "kept").iterdir():
        note.unlink()
    court.judge.agreements._history = (None, None)
    assert any("it was revoked" in difference for difference in again(court, decision))
    assert again(court, replace(decision, at=court.now - 60)) == ()


def test_damaged_policies_decide_nothing(court):
    store = court.judge.policies
    digest = store.current().digest
    path = store.directory / f"{digest.hex()}.json"
    path.write_bytes(path.read_bytes().replace(b"forbid", b"permit", 1))
    fresh = PolicyStore(store.directory)
    with pytest.raises(LogCorruptError):
        fresh.current()
    (store.directory / "current").write_text("00" * 32)
    with pytest.raises(LogCorruptError, match="restore"):
        fresh.current()


def test_hours_are_counted_where_people_work():
    midnight = 1_800_000_000 // 86_400 * 86_400
    assert hour_at(midnight) == 8
    assert hour_at(midnight, offset_s=0) == 0
    assert hour_at(midnight + 16 * 3600) == 0
