"""Proposing a run: the plan adds up, wrong choices are named, and no run is replaced."""

import math

import pytest

from protocols.errors import ProtocolError, UnsupportedParameterError
from protocols.vertical.plan import TrainingPlan
from server.training.proposal import propose, store_proposal


def test_plan_reads_back_and_adds_up(plan):
    assert TrainingPlan.decode(plan.encode()) == plan
    assert plan.compute == ("insurer", "police", "telecom")
    assert sum(partner.norm**2 for partner in plan.partners) == pytest.approx(1, abs=1e-9)
    assert sum(partner.norm**2 for partner in plan.partners) <= 1
    assert plan.partner("insurer").columns == ()  # refined locally, at no cost to the others


def test_norm_grows_with_the_root_of_the_columns(plan):
    wide, narrow = plan.partner("telecom").norm, plan.partner("police").norm
    assert wide**2 / narrow**2 == pytest.approx(math.sqrt(3))


def test_hub_computes_where_a_partner_is_missing(choices, partners):
    del partners["police"]
    assert propose(choices(), partners).compute == ("insurer", "telecom", "hub")


WRONG = {
    "epsilon of nothing": ({"epsilon": 0.0}, "epsilon: must be greater than 0"),
    "negative epsilon": ({"epsilon": -1.0}, "epsilon: must be greater than 0"),
    "epsilon of no number": ({"epsilon": math.nan}, "epsilon: must be greater than 0"),
    "delta": ({"delta": 0.5}, "delta: must be"),
    "no steps": ({"steps": 0}, "steps: must be at least 1"),
    "too many steps": ({"steps": 10_001}, "steps: must be 1 to 10000"),
    "label holder": ({"label_holder": "bank"}, "label holder: not among the partners"),
    "no label there": ({"label_holder": "police"}, "the contract of police names no label"),
    "column": ({"columns": {"telecom": ["age"]}}, "column"),
    "membership": ({"membership": "open"}, "membership: hidden or shared"),
    "refusal": ({"on_refusal": "ignore"}, "on_refusal: end or continue"),
    "rows": ({"min_rows": 0}, "min_rows"),
    "expert of nobody": ({"neural": {"bank": 0.2}}, "neural: bank is not among the partners"),
    "name": ({"run": "Spring 1"}, "run"),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_wrong_choice_is_named_and_nothing_is_proposed(choices, partners, tmp_path, case):
    changes, says = case
    with pytest.raises(ProtocolError, match=says):
        store_proposal(tmp_path, choices(**changes), partners)
    assert list(tmp_path.iterdir()) == []


def test_two_labels_are_refused(choices, partners):
    partners["police"]["contract"]["label"] = "y"
    with pytest.raises(UnsupportedParameterError, match="police names a label too; leave that"):
        propose(choices(), partners)


def test_owners_beyond_three_share_what_they_bring(choices, partners):
    partners["bank"] = partners["police"] | {"name": "bank", "identity": "ee" * 32}
    plan = propose(choices(), partners)
    assert plan.compute == ("insurer", "bank", "police")
    assert plan.outsiders == ("telecom",)
    assert TrainingPlan.decode(plan.encode()) == plan


def test_partners_without_columns_cannot_train(choices, partners):
    only = {"insurer": partners["insurer"]}
    with pytest.raises(UnsupportedParameterError, match="nobody but the label holder"):
        propose(choices(), only)


def test_proposed_run_is_never_replaced(choices, partners, tmp_path):
    first = store_proposal(tmp_path, choices(), partners)
    with pytest.raises(UnsupportedParameterError, match="run: spring exists already"):
        store_proposal(tmp_path, choices(steps=9), partners)
    kept = (tmp_path / "runs" / "spring" / "proposed.json").read_bytes()
    assert TrainingPlan.decode(kept) == first
