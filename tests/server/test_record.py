"""The run record: epsilon is recomputed, and what does not fit the plan is told."""

import json

import pytest

from protocols.dp.accounting import epsilon
from protocols.dp.events import Composed, Gaussian, event_fields
from protocols.dp.neighbours import Neighbours
from protocols.errors import MalformedMessageError
from protocols.vertical.budget import head_noise_multiplier, own_event
from server.training.record import build_record
from server.training.releases import check_releases, doubts, spent_epsilon


@pytest.fixture
def told(plan):
    """What three honest partners say they paid in a whole run."""
    head = event_fields(Gaussian(head_noise_multiplier(plan)))
    labels = {"insurer": "labels/counts", "telecom": "encoder/means", "police": "encoder/means"}
    return {
        name: [
            {"label": f"{label}/attempt/1", "event": event_fields(own_event(plan, name))},
            *(
                {"label": f"train/step/{step}/attempt/1", "event": head}
                for step in range(plan.steps)
            ),
        ]
        for name, label in labels.items()
    }


def recorded(plan, told, outcome="done", **changes):
    parts = {name: {"releases": releases, "sent_bytes": {}} for name, releases in told.items()}
    values = {"alignment": {}, "sizes": {}, "metrics": {}, "parts": parts, "traffic": {}}
    return build_record(plan, outcome=outcome, **values, spending=True, **changes)


def test_epsilon_is_that_of_the_plan_and_never_over_it(plan, told):
    spent = spent_epsilon(plan, told)
    assert spent <= plan.epsilon
    assert spent == pytest.approx(plan.epsilon, rel=1e-6)
    head = Gaussian(head_noise_multiplier(plan), plan.steps)
    own = [own_event(plan, name) for name in plan.names]
    parts = tuple(leaf for event in own for leaf in event.events)
    alone = epsilon(
        Composed((*parts, head)), delta=plan.delta, neighbours=Neighbours.ZERO_OUT_ONE_PERSON
    )
    assert spent == pytest.approx(alone, rel=1e-9)


def test_honest_run_has_no_doubts(plan, told):
    privacy = recorded(plan, told)["privacy"]
    assert privacy["doubts"] == []
    assert privacy["unreported"] == []
    assert privacy["epsilon_spent"] <= privacy["epsilon_planned"]


def test_missing_charge_is_noticed(plan, told):
    del told["police"][3]
    assert recorded(plan, told)["privacy"]["doubts"] == [
        "police: 1 releases of the plan not charged"
    ]
    assert recorded(plan, told, outcome="failed")["privacy"]["doubts"] == []


def test_doubled_charge_is_noticed_in_any_run(plan, told):
    told["telecom"].append(told["telecom"][2])
    found = recorded(plan, told, outcome="failed")["privacy"]["doubts"]
    assert found == [
        "telecom: charged twice: train/step/1/attempt/1",
        "telecom: 1 releases more than the plan has",
    ]


def test_missing_step_of_all_lowers_epsilon_and_a_doubled_encoder_raises_it(plan, told):
    whole = spent_epsilon(plan, told)
    fewer = {name: releases[:-1] for name, releases in told.items()}
    assert spent_epsilon(plan, fewer) < whole
    more = told | {"police": [*told["police"], told["police"][0] | {"label": "again"}]}
    assert spent_epsilon(plan, more) > whole


def test_release_with_less_noise_is_noticed_and_counted(plan, told):
    honest = spent_epsilon(plan, told)
    noise = head_noise_multiplier(plan)
    told["police"][1] = told["police"][1] | {"event": event_fields(Gaussian(noise / 2))}
    assert spent_epsilon(plan, told) > honest
    assert len(doubts(plan, told, whole=True)) == 2


def test_silent_partner_counts_as_if_it_had_spent_all(plan, told):
    whole = spent_epsilon(plan, told)
    early = {name: releases[:2] for name, releases in told.items() if name != "police"}
    record = recorded(plan, early, outcome="failed")
    assert record["privacy"]["unreported"] == ["police"]
    assert record["privacy"]["epsilon_spent"] == pytest.approx(whole, rel=1e-9)
    assert spent_epsilon(plan, {}) == pytest.approx(whole, rel=1e-9)


def test_run_that_was_refused_has_cost_nothing(plan):
    record = build_record(
        plan, outcome="refused", alignment={}, sizes={}, metrics={}, parts={}, traffic={},
        spending=False,
    )  # fmt: skip
    assert record["privacy"]["epsilon_spent"] == 0
    assert record["privacy"]["unreported"] == []
    assert json.loads(json.dumps(record))["plan_hash"] == plan.digest.hex()


@pytest.mark.parametrize(
    "part",
    [
        {},
        {"releases": {}, "sent_bytes": {}},
        {"releases": [7], "sent_bytes": {}},
        {"releases": [{"label": 1, "event": {}}], "sent_bytes": {}},
        {"releases": [{"label": "a", "event": {"kind": "unheard"}}], "sent_bytes": {}},
        {"releases": [{"label": "a" * 999, "event": {}}], "sent_bytes": {}},
        {"releases": [], "sent_bytes": {"train.1": 7}},
        {"releases": [], "sent_bytes": {"train.1": {"hub": -1}}},
        {"releases": [], "sent_bytes": {"train.1": {"hub": True}}},
    ],
)
def test_what_is_no_account_is_refused_by_the_partners_name(part):
    with pytest.raises(MalformedMessageError, match=r"telecom|event"):
        check_releases("telecom", part)
