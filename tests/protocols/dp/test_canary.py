import math

import numpy as np
import pytest
from scipy import stats

from protocols.dp import canary
from protocols.errors import UnsupportedParameterError


def paper_p_value(m, r, v, epsilon, delta):
    # Steinke, Nasr and Jagielski 2023, appendix D, in their order of steps.
    q = 1 / (1 + math.exp(-epsilon))
    beta = stats.binom.sf(v - 1, r, q)
    alpha = total = 0
    for i in range(1, v + 1):
        total += stats.binom.pmf(v - i, r, q)
        alpha = max(alpha, total / i)
    return min(beta + alpha * delta * 2 * m, 1)


@pytest.mark.parametrize(
    ("m", "r", "v", "delta"), [(1000, 200, 180, 1e-5), (500, 50, 50, 1e-6), (300, 300, 170, 1e-5)]
)
def test_bound_is_where_the_papers_p_value_crosses(m, r, v, delta):
    bound = canary.epsilon_lower_bound(correct=v, guesses=r, canaries=m, delta=delta)
    assert bound > 0
    assert paper_p_value(m, r, v, bound * 0.999, delta) < 0.05
    assert paper_p_value(m, r, v, bound * 1.001, delta) >= 0.05


def test_bound_without_delta_is_clopper_and_pearsons():
    bound = canary.epsilon_lower_bound(correct=100, guesses=100, canaries=100, delta=1e-300)
    accuracy = 0.05 ** (1 / 100)
    assert bound == pytest.approx(math.log(accuracy / (1 - accuracy)), rel=1e-6)


def test_chance_and_worse_prove_nothing():
    for correct in (0, 40, 50, 55):
        assert (
            canary.epsilon_lower_bound(correct=correct, guesses=100, canaries=100, delta=1e-5) == 0
        )
    assert canary.epsilon_lower_bound(correct=0, guesses=0, canaries=10, delta=1e-5) == 0


def test_bound_grows_with_right_guesses_and_falls_with_confidence():
    bounds = [
        canary.epsilon_lower_bound(correct=v, guesses=200, canaries=500, delta=1e-5)
        for v in (130, 150, 180, 200)
    ]
    assert bounds == sorted(set(bounds))
    sure = canary.epsilon_lower_bound(
        correct=180, guesses=200, canaries=500, delta=1e-5, confidence=0.999
    )
    assert sure < bounds[2]


@pytest.mark.parametrize(
    "change",
    [
        {"correct": 11},
        {"correct": -1},
        {"guesses": 21},
        {"delta": 0.0},
        {"confidence": 1.0},
        {"confidence": math.nan},
    ],
)
def test_impossible_counts_are_refused(change):
    good = {"correct": 9, "guesses": 10, "canaries": 20, "delta": 1e-5, "confidence": 0.9}
    canary.epsilon_lower_bound(**good)
    with pytest.raises(UnsupportedParameterError):
        canary.epsilon_lower_bound(**good | change)


def test_coins_are_fair_and_of_the_given_source():
    coins = canary.choose(10_001, random=np.random.default_rng(1).bytes)
    assert coins.shape == (10_001,)
    assert abs(coins.mean() - 0.5) < 0.02
    assert np.array_equal(coins, canary.choose(10_001, random=np.random.default_rng(1).bytes))
    with pytest.raises(UnsupportedParameterError, match="random"):
        canary.choose(9, random=lambda size: b"")


def test_rows_are_orthogonal_and_absent_ones_zero():
    included = np.array([True, False, True])
    rows = canary.place(included, width=6, first_column=2, norm=0.5)
    assert rows.tolist() == [[0, 0, 0.5, 0, 0, 0], [0] * 6, [0, 0, 0, 0, 0.5, 0]]
    with pytest.raises(UnsupportedParameterError, match="width"):
        canary.place(included, width=4, first_column=2)


@pytest.mark.parametrize("label", [0, 1])
def test_presence_raises_the_score_for_either_label(label):
    included = np.array([True, False, True, False])
    rows = canary.place(included, width=7, first_column=3)
    residual = np.full(4, 0.5 - label)
    scores = canary.score(residual @ rows, canaries=4, first_column=3, label=label)
    assert scores.tolist() == [0.5, 0, 0.5, 0]


def test_guesses_are_the_extremes_and_the_rest_abstains():
    scores = np.array([0.3, -2.0, 5.0, 0.0, 1.0])
    assert canary.guess(scores, guesses=2).tolist() == [0, -1, 1, 0, 0]
    assert canary.guess(scores, guesses=3).tolist() == [0, -1, 1, 0, 1]
    assert canary.guess(scores, guesses=0).tolist() == [0] * 5
    with pytest.raises(UnsupportedParameterError):
        canary.guess(scores, guesses=6)


def test_audit_counts_what_is_right():
    scores = np.array([3.0, 2.0, 1.0, -1.0, -2.0, -3.0])
    included = np.array([True, False, True, True, False, True])
    found = canary.audit(scores, included, guesses=4, delta=1e-5)
    assert (found.canaries, found.guesses, found.correct, found.epsilon) == (6, 4, 2, 0.0)


def test_audit_refuses_scores_without_a_number():
    with pytest.raises(UnsupportedParameterError):
        canary.audit(np.array([1.0, math.nan]), np.array([True, False]), guesses=1, delta=1e-5)
    with pytest.raises(UnsupportedParameterError):
        canary.audit(np.array([1.0]), np.array([True, False]), guesses=1, delta=1e-5)


def test_planned_guesses_beat_guessing_all():
    planned = canary.plan_guesses(mu_squared=0.85, canaries=1000, delta=1e-5)
    accuracy = canary._accuracy(math.sqrt(0.85), planned / 1000)
    assert 2 <= planned < 1000
    few = canary.epsilon_lower_bound(
        correct=int(planned * accuracy), guesses=planned, canaries=1000, delta=1e-5
    )
    everything = int(1000 * canary._accuracy(math.sqrt(0.85), 1.0))
    all_of_them = canary.epsilon_lower_bound(
        correct=everything, guesses=1000, canaries=1000, delta=1e-5
    )
    assert few > all_of_them
