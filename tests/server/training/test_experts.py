import pytest

from protocols.dp.accounting import epsilon
from protocols.dp.neighbours import Neighbours
from protocols.errors import UnsupportedParameterError
from protocols.vertical.budget import head_noise_multiplier
from protocols.vertical.contract import Contract, Numeric
from protocols.vertical.plan import TrainingPlan
from server.training.proposal import Choices, propose


def joined(key: str, count: int, label: str | None = None) -> dict[str, object]:
    columns = tuple(Numeric(f"c{number}", 0.0, 1.0) for number in range(count))
    return {"identity": key * 32, "contract": Contract(columns, label=label).format()}


PARTNERS = {
    "insurer": joined("0a", 4, "y"),
    "telecom": joined("0b", 16),
    "police": joined("0c", 9),
}


def proposed(**neural: float) -> TrainingPlan:
    choices = Choices(
        run="run",
        purpose="purpose",
        epsilon=1.0,
        delta=1e-5,
        label_holder="insurer",
        columns={},
        neural=neural,
    )
    return propose(choices, PARTNERS)


def test_nobody_trains_an_expert_unasked():
    plan = proposed()
    assert [partner.encoder.neural for partner in plan.partners] == [None] * 3
    assert plan.partner("insurer").columns == ()


def test_expert_costs_its_share_and_no_more():
    plan = proposed(telecom=0.2)
    terms = plan.partner("telecom").encoder.neural
    assert terms.task == "reconstruction"
    price = epsilon(terms.event, delta=1e-5, neighbours=Neighbours.ZERO_OUT_ONE_PERSON)
    assert 0.19 < price <= 0.2
    assert plan.partner("police").encoder.neural is None
    assert head_noise_multiplier(plan) > head_noise_multiplier(proposed())
    assert TrainingPlan.decode(plan.encode()) == plan


def test_label_holder_with_an_expert_brings_its_columns():
    plan = proposed(insurer=0.1, telecom=0.1)
    assert plan.partner("insurer").encoder.neural.task == "labels"
    assert len(plan.partner("insurer").columns) == 4
    assert sum(partner.norm**2 for partner in plan.partners) == pytest.approx(1)
    assert plan.compute == ("insurer", "police", "telecom")


@pytest.mark.parametrize(
    ("neural", "said"),
    [
        ({"bank": 0.2}, "bank is not among the partners"),
        ({"telecom": 0.0}, "above 0"),
        ({"telecom": float("nan")}, "above 0"),
        ({"telecom": 0.6, "police": 0.4}, "together at most 0.9"),
        ({"telecom": 1e-4}, "too little to train with"),
    ],
)
def test_impossible_experts_are_refused(neural, said):
    with pytest.raises(UnsupportedParameterError, match=said):
        proposed(**neural)
