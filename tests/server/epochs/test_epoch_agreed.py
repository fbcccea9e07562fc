"""A key is made, renewed and ended by persons, within the agreement, or not at all."""

import pytest

from compliance.agreement.vocabulary import Channel
from compliance.log.storage import Place
from compliance.policy.decision import Decision
from compliance.policy.replay import replay
from protocols.errors import OutOfTurnError, ProtocolError
from protocols.tlog.entry import Outcome

DAY_S = 24 * 3600


def refused(place, match, **request):
    with pytest.raises(OutOfTurnError, match=match):
        place.ask(**request)
    entry = place.entries()[-1]
    assert (entry.act, entry.outcome) == (request["action"], Outcome.REFUSED)
    return entry


def test_epoch_is_what_the_agreement_grants(holders, make_agreed):
    holders.agree_otherwise(
        make_agreed(
            quota={"insurer": 700, "police": 60, "telecom": 50},
            channels={"insurer": [Channel.COUNTER], "telecom": []},
            threshold=3,
        )
    )
    holders.begin()
    manifest = holders.holding.store.manifest(1)
    assert (manifest.record.holders, manifest.record.threshold) == (("hub", "police", "telecom"), 3)
    assert {name: grant.quota for name, grant in manifest.askers.items()} == {
        "insurer": 700, "police": 60,
    }  # fmt: skip
    assert manifest.askers["insurer"].purposes == {Channel.COUNTER}
    # Who reports to others and may not have identifiers evaluated cannot publish.
    assert manifest.contributors.keys() == {"police"}


@pytest.mark.parametrize(
    ("wish", "rule"),
    [
        ({"quotas": {"insurer": 120_001}}, "askers"),
        ({"holders": ["hub", "police", "insurer"]}, "keys"),
        ({"days": 20_000}, "validity"),
    ],
)
def test_wish_beyond_the_agreement_is_refused_and_entered(holders, wish, rule):
    entry = refused(holders, rf"no-agreement-no-act.*\({rule}", action="begin_epoch", **wish)
    assert entry.policies == ("no-agreement-no-act", f"agreement.{rule}")
    assert entry.agreement.digest == holders.agreed.agreement.digest
    assert holders.ask(action="epoch_progress")["state"] == "none"


def test_threshold_below_the_agreement_is_refused(holders, make_agreed):
    holders.agree_otherwise(make_agreed(threshold=3))
    entry = refused(holders, "threshold", action="begin_epoch", threshold=2)
    assert entry.policies[-1] == "agreement.keys"


def test_without_an_agreement_no_epoch_begins_and_none_is_renewed(holders, agreed):
    holders.agree_otherwise(None)
    entry = refused(holders, "no agreement is in force", action="begin_epoch")
    assert (entry.policies[0], entry.agreement) == ("no-agreement-no-act", None)
    assert entry.subject_matter == "epoch-1/key"
    agreed.keep(holders.hub.root, holders.root / "police", holders.root / "telecom")
    holders.begin()
    now = holders.clock.now()
    holders.log.office.agreements.keep_revocation(agreed.revocation("police", now=now), now=now)
    for action in ("begin_epoch", "refresh_epoch"):
        request = {"epoch": 1} if action == "refresh_epoch" else {}
        refused(holders, "no agreement is in force", action=action, **request)
    # An end needs none: what nobody agrees to any more must be ended.
    assert holders.ask(action="end_epoch", epoch=1)["epoch"] == 1


@pytest.mark.parametrize(
    ("who", "policy"),
    [
        ({"second": ""}, ("four-eyes",)),
        ({"second": "olga"}, ("four-eyes",)),
        ({"by": "amy", "second": "carl"}, ("default-deny",)),
        ({"by": "", "second": "amy"}, ("error.request",)),
    ],
)
def test_persons_who_may_not_begin_are_refused_and_entered(holders, who, policy):
    entry = refused(holders, "begin_epoch", action="begin_epoch", **who)
    assert entry.policies == policy
    assert holders.ask(action="epoch_progress")["state"] == "none"


def test_end_needs_a_second_person_and_a_reason(holders):
    holders.begin()
    assert refused(holders, "four-eyes", action="end_epoch", epoch=1, second="").policies
    entry = refused(holders, "say-why", action="end_epoch", epoch=1, reason=" ")
    assert entry.policies == ("say-why",)
    assert holders.share("hub")


def test_refresh_needs_no_second_person(holders):
    holders.begin()
    assert holders.followed(action="refresh_epoch", epoch=1, second="")["state"] == "done"


@pytest.mark.parametrize("missing", ["by", "reason"])
def test_order_that_names_nobody_is_none(holders, missing):
    order = {"by": holders.person("olga").fields(), "second": None, "reason": ""}
    del order[missing]
    with pytest.raises(ProtocolError, match="needs by, second and reason"):
        holders.epochs.control({"action": "begin_epoch", **order})
    assert holders.entries() == []


def test_reason_is_sealed_and_the_decision_replays_from_kept_terms(holders):
    holders.begin(reason="the year's first")
    refused(holders, "askers", action="begin_epoch", quotas={"insurer": 10**9})
    office, found = holders.log.office, holders.entries()
    assert b"first" not in found[0].encode()

    for entry in found:
        place = Place(holders.log.yearly.origin(), entry.sequence)
        part = office.parts.read(place, entry.commitment)
        record = Decision.decode(part.decision.encode())
        assert replay(record, office.policies, office.agreements, office.document) == ()
        assert record.situation.facts.second == holders.person("amy")
    assert office.parts.read(
        Place(holders.log.yearly.origin(), 0), found[0].commitment
    ).reason == "the year's first"  # fmt: skip
