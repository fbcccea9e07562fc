"""A run with a neural expert: Gaussian releases and DP-SGD in one reservation."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from compliance.entries import Scope
from compliance.errors import BudgetExhaustedError
from compliance.ledger import Cap, Ledger
from protocols.dp.accounting import epsilon
from protocols.dp.events import Composed, Gaussian, SampledGaussian
from protocols.dp.neighbours import Neighbours

SCOPE = Scope("people", "telecom", "insurer")
CAP = Cap(1.0, 1e-5)
MEANS = Gaussian(40.0)
TRAINING = SampledGaussian(6.0, 1 / 32, 128)
STEP = Gaussian(35.0)
PLAN = Composed((MEANS, TRAINING, Gaussian(35.0, 60)))


def price(*events) -> float:
    whole = Composed(events)
    return epsilon(whole, delta=CAP.delta, neighbours=Neighbours.ZERO_OUT_ONE_PERSON)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "ledger", {SCOPE: CAP, SCOPE.over_recipients: CAP})
    opened.reserve("run", [SCOPE], PLAN, 1)
    yield opened
    opened.close()


def test_whole_plan_is_paid_in_its_parts(ledger):
    ledger.charge("run", "encoder/means", MEANS, 2)
    ledger.charge("run", "encoder/neural", TRAINING, 2)
    for step in range(60):
        ledger.charge("run", f"step/{step}", STEP, 3)
    assert ledger.spent(SCOPE) == pytest.approx(price(PLAN), rel=1e-9)
    assert ledger.spent(SCOPE) <= CAP.epsilon


def test_training_twice_is_not_paid_for(ledger):
    ledger.charge("run", "encoder/neural/attempt/1", TRAINING, 2)
    spent = ledger.spent(SCOPE)
    with pytest.raises(BudgetExhaustedError):
        ledger.charge("run", "encoder/neural/attempt/2", TRAINING, 2)
    assert ledger.spent(SCOPE) == spent == pytest.approx(price(TRAINING), rel=1e-9)


@pytest.mark.parametrize(
    "other",
    [
        SampledGaussian(5.9, 1 / 32, 128),
        SampledGaussian(6.0, 1 / 16, 128),
        SampledGaussian(6.0, 1 / 32, 129),
    ],
)
def test_other_training_than_reserved_is_refused(ledger, other):
    with pytest.raises(BudgetExhaustedError):
        ledger.charge("run", "encoder/neural", other, 2)
    assert ledger.spent(SCOPE) == 0


def test_training_is_not_paid_for_by_what_the_steps_leave(ledger):
    with pytest.raises(BudgetExhaustedError):
        ledger.charge("run", "encoder/neural", Composed((TRAINING, Gaussian(35.0, 90))), 2)
    ledger.charge("run", "encoder/neural", TRAINING, 2)


def test_charged_training_survives_a_restart(ledger, tmp_path):
    ledger.charge("run", "encoder/neural", TRAINING, 2)
    ledger.close()
    again = Ledger(tmp_path / "ledger", {SCOPE: CAP, SCOPE.over_recipients: CAP})
    assert again.charges("run")[0].event == TRAINING
    assert again.spent(SCOPE) == pytest.approx(price(TRAINING), rel=1e-9)
    again.close()
