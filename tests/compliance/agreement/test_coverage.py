"""What an agreement covers: each rule is met by the usual act, and broken by one change."""

from dataclasses import replace

import pytest

from compliance.agreement.coverage import (
    Epoch,
    Lookup,
    Publication,
    Run,
    Scores,
    Table,
    grants,
    ledger_caps,
    question_of,
)
from compliance.agreement.drafting import DATABASE, FRAUD
from compliance.agreement.vocabulary import Channel, What
from compliance.entries import Scope
from compliance.errors import NotPermittedError
from compliance.ledger import Cap
from protocols.epoch.grants import Grant
from protocols.epoch.manifest import NO_PREVIOUS
from protocols.epoch.setup import KeygenTerms
from protocols.vertical.plan import HUB


def without_flows(agreement, what, source=None, recipient=None):
    flows = tuple(
        flow
        for flow in agreement.flows
        if flow.what is not what
        or (source is not None and flow.source != source)
        or (recipient is not None and flow.recipient != recipient)
    )
    assert flows != agreement.flows
    return replace(agreement, flows=flows)


def terms(world, **changes):
    found = {
        "hub": world.agreement.hub, "epoch": 1, "threshold": 2,
        "holders": ("hub", "police", "telecom"), "session": bytes(16),
        "not_before": world.now, "not_after": world.now + 1000, "grace_s": 0,
        "contributors": {"police": 1, "telecom": 2}, "askers": grants(world.agreement),
        "previous": NO_PREVIOUS,
    }  # fmt: skip
    return KeygenTerms(**(found | changes))


def test_the_insurer_looks_up_in_its_channels(world):
    for channel in ("counter", "call_centre", "online", "screening", "alignment"):
        found = Lookup("insurer", Channel(channel)).ask(world.agreement)
        assert found.covered, found
        assert found.purpose == FRAUD
        assert found.bases == ("tw/pdpa-20", "tw/rules-17")
        assert found.recipients == ("hub", "telecom", "police") or set(found.recipients) == {
            "hub", "telecom", "police",
        }  # fmt: skip


@pytest.mark.parametrize(
    ("asker", "channel", "rule"),
    [
        ("telecom", "counter", "channels"),
        ("insurer", "publish", "channels"),
        ("hub", "counter", "askers"),
        ("bank", "counter", "askers"),
    ],
)
def test_others_do_not_look_up(world, asker, channel, rule):
    found = Lookup(asker, Channel(channel)).ask(world.agreement)
    assert found.rule == rule
    with pytest.raises(NotPermittedError, match=rule):
        found.require()


def test_a_lookup_rests_on_a_basis_towards_every_holder(world):
    gap = without_flows(world.agreement, What.LOOKUP, "insurer", "police")
    found = Lookup("insurer", Channel.COUNTER).ask(gap)
    assert (found.rule, found.reason) == (
        "flows", "no legal basis for lookup from insurer to police for this purpose",
    )  # fmt: skip


def test_searching_needs_somebody_who_gives_reports(world):
    nobody = without_flows(world.agreement, What.REPORT, recipient="insurer")
    assert Lookup("insurer", Channel.COUNTER).ask(nobody).rule == "flows"
    assert Lookup("insurer", Channel.ALIGNMENT).ask(nobody).covered


def test_contributors_publish_to_whom_they_give(world):
    found = Publication("police").ask(world.agreement)
    assert (found.purpose, found.recipients) == (DATABASE, ("insurer",))
    assert "tw/pdpa-16-4" in found.bases
    assert Publication("insurer").ask(world.agreement).rule == "channels"
    silent = without_flows(world.agreement, What.REPORT, "police")
    assert Publication("police").ask(silent).rule == "flows"


def test_a_table_goes_to_whom_it_is_given(world):
    assert Table("police", "insurer").ask(world.agreement).covered
    assert Table("police", "telecom").ask(world.agreement).rule == "flows"
    assert Table("insurer", "police").ask(world.agreement).rule == "flows"


def test_the_usual_plan_is_covered(world):
    found = Run(world.plan).ask(world.agreement)
    assert found.covered, found
    assert set(found.bases) == {"tw/pdpa-20-4", "tw/pdpa-16-4", "tw/rules-17"}


def partner_changed(plan, name, **changes):
    return replace(
        plan,
        partners=tuple(
            replace(item, **changes) if item.name == name else item for item in plan.partners
        ),
    )


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda plan: replace(plan, purpose="https://w3id.org/dpv#Marketing"), "purposes"),
        (lambda plan: partner_changed(plan, "police", identity="0a" * 32), "parties"),
        (lambda plan: replace(
            plan, partners=(*plan.partners, replace(plan.partners[1], name="bank", columns=(),
                                                    norm=0.0, identity="0b" * 32))), "parties"),
        (lambda plan: partner_changed(plan, "telecom", columns=("calls", "contacts")),
         "contracts"),
        (lambda plan: replace(plan, label_holder="telecom"), "contracts"),
        (lambda plan: replace(plan, epsilon=1.0000001), "caps"),
        (lambda plan: replace(plan, delta=2e-5), "caps"),
        (lambda plan: replace(partner_changed(plan, "police", columns=(), norm=0.0),
                              compute=("insurer", "telecom", HUB)), "training"),
        (lambda plan: replace(plan, membership="shared"), "training"),
        (lambda plan: replace(plan, epoch=0), "training"),
        (lambda plan: replace(plan, min_rows=99), "training"),
    ],
)  # fmt: skip
def test_a_plan_outside_the_agreement_is_named_by_its_rule(world, change, rule):
    found = Run(change(world.plan)).ask(world.agreement)
    assert (found.rule, bool(found.reason)) == (rule, True)


def test_a_recipient_without_a_cap_learns_nothing(world):
    recipients = {
        name: cap for name, cap in world.agreement.caps.recipients.items() if name != "police"
    }
    caps = replace(world.agreement.caps, recipients=recipients)
    assert Run(world.plan).ask(replace(world.agreement, caps=caps)).rule == "caps"


def test_training_rests_on_a_basis_in_every_direction(world):
    gap = without_flows(world.agreement, What.TRAINING, "telecom", "police")
    found = Run(world.plan).ask(gap)
    assert found.reason == "no legal basis for training from telecom to police for this purpose"


def test_where_the_hub_computes_it_needs_a_basis_too(world):
    plan = replace(
        partner_changed(world.plan, "police", columns=(), norm=0.0),
        compute=("insurer", "telecom", HUB),
    )
    training = replace(world.agreement.training, compute=(*world.agreement.training.compute, HUB))
    found = Run(plan).ask(replace(world.agreement, training=training))
    assert found.reason == "no legal basis for training from insurer to hub for this purpose"


def test_scores_need_bases_beyond_those_of_training(world):
    assert Scores(world.plan).ask(world.agreement).recipients == ("insurer",)
    gap = without_flows(world.agreement, What.SCORE, "police", "insurer")
    assert Run(world.plan).ask(gap).covered
    assert Scores(world.plan).ask(gap).rule == "flows"
    assert Scores(replace(world.plan, epsilon=2.0)).ask(world.agreement).rule == "caps"


def test_the_usual_epoch_is_covered(world):
    assert Epoch(terms(world)).ask(world.agreement).covered


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"hub": "other.example"}, "hub"),
        ({"holders": ("hub", "insurer", "police")}, "keys"),
        ({"not_after": 1_900_000_000}, "validity"),
        ({"contributors": {"insurer": 1}}, "flows"),
        ({"askers": {"bank": Grant(1, frozenset({Channel.COUNTER}))}}, "askers"),
        ({"askers": {"insurer": Grant(100_001, frozenset({Channel.COUNTER}))}}, "askers"),
        ({"askers": {"police": Grant(1, frozenset({Channel.COUNTER}))}}, "channels"),
    ],
)
def test_an_epoch_outside_the_agreement_is_named_by_its_rule(world, changes, rule):
    assert Epoch(terms(world, **changes)).ask(world.agreement).rule == rule


def test_a_lower_threshold_is_refused(world):
    strict = replace(world.agreement, keys=replace(world.agreement.keys, threshold=3))
    assert Epoch(terms(world)).ask(strict).rule == "keys"


def test_questions_can_be_asked_again(world):
    documents = {
        world.plan.digest: world.plan.encode(),
        terms(world).digest: terms(world).encode(),
    }
    questions = (
        Lookup("insurer", Channel.ONLINE), Publication("police"), Table("police", "insurer"),
        Run(world.plan), Scores(world.plan), Epoch(terms(world)),
    )  # fmt: skip
    for question in questions:
        assert question_of(question.fields(), documents.get) == question
    with pytest.raises(NotPermittedError, match="not at hand"):
        question_of(Run(world.plan).fields(), {}.get)
    other = replace(world.plan, run="other")
    with pytest.raises(NotPermittedError, match="is not"):
        question_of(Run(world.plan).fields(), lambda digest: other.encode())
    for wrong in ({}, {"kind": "lookup"}, {"kind": "lookup", "asker": "x", "channel": "street"}):
        with pytest.raises(NotPermittedError, match="unknown"):
            question_of(wrong, documents.get)


def test_caps_become_those_of_the_ledger(world):
    caps = ledger_caps(world.agreement, cohort="people", owner="telecom")
    assert caps == {
        Scope("people", "telecom", "insurer"): Cap(3.0, 1e-5),
        Scope("people", "telecom", "police"): Cap(3.0, 1e-5),
        Scope("people", "telecom", "*"): Cap(3.0, 1e-5),
    }
