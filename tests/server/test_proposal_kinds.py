"""Proposing runs with several partners of a kind: blocks, norms, compute parties, experts."""

import copy
from dataclasses import replace

import pytest

from protocols.dp.accounting import epsilon
from protocols.dp.events import Composed, Gaussian
from protocols.dp.neighbours import Neighbours
from protocols.errors import UnsupportedParameterError
from protocols.vertical.budget import (
    events_before_head,
    head_noise_multiplier,
    own_event,
    run_event,
)
from protocols.vertical.plan import TrainingPlan
from server.training.proposal import propose

ROLES = {
    "insurer": "insurer", "insurer-b": "insurer", "telecom": "telecom", "telecom-b": "telecom",
    "police": "police",
}  # fmt: skip


@pytest.fixture
def five(partners):
    """Two insurers, two telecoms of one contract, and the police."""
    for number, name in enumerate(("insurer", "telecom"), 8):
        partners[f"{name}-b"] = copy.deepcopy(partners[name]) | {
            "name": f"{name}-b", "identity": f"{number:02x}" * 32,
        }  # fmt: skip
    return partners


def test_partners_of_a_kind_share_a_block(choices, five):
    plan = propose(choices(roles=ROLES), five)
    assert TrainingPlan.decode(plan.encode()) == plan
    assert {kind.name: kind.names for kind in plan.kinds} == {
        "insurer": ("insurer", "insurer-b"),
        "police": ("police",),
        "telecom": ("telecom", "telecom-b"),
    }
    assert plan.label_holders == ("insurer", "insurer-b")
    # One of each kind; the others share what they bring.
    assert plan.compute == ("insurer", "police", "telecom")
    assert plan.outsiders == ("telecom-b", "insurer-b")
    firsts = [kind.first for kind in plan.kinds]
    assert sum(partner.norm**2 for partner in firsts) == pytest.approx(1, abs=1e-9)
    assert plan.partner("telecom").norm == plan.partner("telecom-b").norm


def test_second_label_holder_may_be_named_first(choices, five):
    plan = propose(choices(roles=ROLES, label_holder="insurer-b"), five)
    assert plan.label_holders == ("insurer-b", "insurer")
    assert plan.compute[0] == "insurer-b"


def test_hub_computes_where_a_kind_may_not(choices, five):
    allowed = ("insurer-b", "telecom-b", "hub")
    plan = propose(choices(roles=ROLES, compute=allowed), five)
    assert plan.compute == ("insurer-b", "telecom-b", "hub")
    assert set(plan.outsiders) == {"insurer", "police", "telecom"}


def test_other_contract_is_another_block(choices, five):
    five["telecom-b"]["contract"]["columns"][0]["high"] = 10
    plan = propose(choices(roles=ROLES), five)
    assert {kind.name: kind.names for kind in plan.kinds if kind.first.columns} == {
        "police": ("police",),
        "telecom": ("telecom",),
        "telecom-b": ("telecom-b",),
    }
    assert len(plan.compute) == 3


def test_name_of_a_block_is_no_other_partners(choices, five):
    five["telecom"]["contract"]["columns"][0]["high"] = 10
    five["telecom-c"] = copy.deepcopy(five["telecom-b"]) | {"name": "telecom-c"}
    five["telecom-c"]["identity"] = "77" * 32
    plan = propose(choices(roles=ROLES | {"telecom-c": "telecom"}), five)
    names = {kind.name: kind.names for kind in plan.kinds}
    assert names["telecom"] == ("telecom",)
    assert names["telecom-kind-2"] == ("telecom-b", "telecom-c")


def test_label_of_another_kind_is_refused(choices, five):
    five["police"]["contract"]["label"] = "y"
    with pytest.raises(UnsupportedParameterError, match="police names a label too"):
        propose(choices(roles=ROLES), five)


def test_pooled_sums_are_counted_once_and_paid_by_each(choices, five):
    plan = propose(choices(roles=ROLES, epsilon=1.0), five)
    assert own_event(plan, "telecom") == own_event(plan, "telecom-b") is not None
    before = events_before_head(plan)
    # Means of two blocks and the counts: three releases, of five partners.
    assert len(before) == 3
    head = Gaussian(head_noise_multiplier(plan), plan.steps)
    spent = epsilon(
        Composed((*before, head)), delta=plan.delta, neighbours=Neighbours.ZERO_OUT_ONE_PERSON
    )
    assert 0.999 < spent <= 1.0
    for name in plan.names:
        own = own_event(plan, name)
        assert run_event(plan, name) == Composed((own, head))


def test_smaller_plan_keeps_its_block(choices, five):
    plan = propose(choices(roles=ROLES, on_refusal="continue"), five)
    without = plan.without("telecom-b")
    assert [kind.names for kind in without.kinds if kind.name == "telecom"] == [("telecom",)]
    assert without.compute == plan.compute
    gone = plan.without("telecom")
    assert gone.compute == ("insurer", "police", "hub")
    assert gone.outsiders == ("telecom-b", "insurer-b")
    firsts = [kind.first for kind in gone.kinds]
    assert sum(partner.norm**2 for partner in firsts) == pytest.approx(1, abs=1e-9)
    assert plan.without("insurer-b").label_holders == ("insurer",)
    with pytest.raises(UnsupportedParameterError, match="cannot go on without insurer"):
        plan.without("insurer")


def test_members_train_an_expert_together_or_not_at_all(choices, five):
    with pytest.raises(UnsupportedParameterError, match=r"of one kind \(telecom\) and train"):
        propose(choices(roles=ROLES, neural={"telecom": 0.2}), five)
    plan = propose(
        choices(roles=ROLES, epsilon=8.0, neural={"telecom": 0.2, "telecom-b": 0.2}), five
    )
    expert = plan.partner("telecom-b").encoder.neural
    assert expert is not None
    assert (expert.rounds, expert.steps % expert.rounds) == (4, 0)
    assert events_before_head(plan).count(expert.event) == 2


WRONG = [
    ({"compute": ("insurer", "telecom", "telecom-b")}, "only one of its members may compute"),
    ({"label_holder": "insurer-b"}, "label_holder: must be the first of its block"),
]


@pytest.mark.parametrize(("change", "says"), WRONG)
def test_plan_with_wrong_kinds_is_refused(choices, five, change, says):
    plan = propose(choices(roles=ROLES), five)
    with pytest.raises(UnsupportedParameterError, match=says):
        replace(plan, **change)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"norm": 0.1}, "must be the same at all members"),
        ({"columns": ("calls",)}, "must be the same at all members"),
        ({"block": "Tele"}, "block Tele: needs a-z"),
        ({"block": "hub"}, "block hub: needs a-z"),
        ({"block": "police"}, "must be the same at all members|is the name of a partner"),
        ({"block": "insurer"}, "must be the same at all members"),
    ],
)
def test_members_that_do_not_fit_are_refused(choices, five, change, says):
    plan = propose(choices(roles=ROLES), five)
    partners = tuple(
        replace(partner, **change) if partner.name == "telecom-b" else partner
        for partner in plan.partners
    )
    with pytest.raises(UnsupportedParameterError, match=says):
        replace(plan, partners=partners)
