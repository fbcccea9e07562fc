"""Metrics: exact where they can be, with intervals that hold, and rounded before they leave."""

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from clients.node.metrics import _auc_deviation, measure

ROWS = 1_200


@pytest.fixture(scope="module")
def case():
    source = np.random.default_rng(11)
    scores = source.random(ROWS)
    labels = (source.random(ROWS) < scores).astype(np.float64)
    return labels, scores


def bootstrap(labels, scores, resamples=600):
    source = np.random.default_rng(5)
    values = []
    for _ in range(resamples):
        rows = source.integers(0, len(labels), len(labels))
        values.append(roc_auc_score(labels[rows], scores[rows]))
    return np.quantile(values, [0.025, 0.975])


def test_delong_interval_agrees_with_a_bootstrap(case):
    labels, scores = case
    found = measure(labels, scores, seed=0)
    low, high = bootstrap(labels, scores)
    width = high - low
    assert found.auc_interval[0] == pytest.approx(low, abs=0.12 * width)
    assert found.auc_interval[1] == pytest.approx(high, abs=0.12 * width)


def test_delong_interval_agrees_with_a_bootstrap_on_ties_and_rare_cases():
    source = np.random.default_rng(2)
    labels = (np.arange(ROWS) % 20 == 0).astype(np.float64)
    scores = np.round(np.clip(source.normal(0.4 + 0.2 * labels, 0.2), 0, 1), 1)
    found = measure(labels, scores, seed=0)
    low, high = bootstrap(labels, scores)
    assert found.auc_interval[1] - found.auc_interval[0] == pytest.approx(high - low, rel=0.15)


def test_delong_interval_covers_the_truth_as_often_as_it_says():
    # Of two normals one deviation apart the AUC is Phi(1 / sqrt 2).
    truth, source, hits = 0.7602499389, np.random.default_rng(8), 0
    labels = np.repeat([0.0, 1.0], 100)
    for _ in range(300):
        scores = source.normal(labels, 1.0)
        width = 1.959964 * _auc_deviation(labels, scores)
        hits += abs(roc_auc_score(labels, scores) - truth) <= width
    assert 0.91 <= hits / 300 <= 0.985


def test_calibrated_scores_lie_on_the_diagonal(case):
    labels, scores = case
    groups = measure(labels, scores, seed=0).calibration
    assert [count for _, _, count in groups] == [ROWS // 10] * 10
    for mean, rate, count in groups:
        assert abs(mean - rate) < 4 * np.sqrt(0.25 / count)
    shifted = measure(labels, scores / 2, seed=0).calibration
    assert shifted[-1][1] > 1.5 * shifted[-1][0]


def test_known_small_case_is_exact():
    labels, scores = np.array([0.0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])
    found = measure(labels, scores, seed=0)
    assert (found.auc, found.positives, found.rows) == (0.75, 2, 4)
    assert found.ap == pytest.approx(0.8333333)
    assert found.brier == pytest.approx(0.158125)


@pytest.mark.parametrize("labels", [np.zeros(5), np.ones(5), np.zeros(0)])
def test_one_class_has_no_metrics(labels):
    assert measure(labels, np.full(len(labels), 0.5), seed=0) is None


def test_what_leaves_is_rounded_to_three_decimals(case):
    labels, scores = case
    value = json.loads(json.dumps(measure(labels, scores, seed=0).rounded()))
    reals = [
        value["auc"],
        value["ap"],
        value["brier"],
        *value["auc_interval"],
        *value["ap_interval"],
    ]
    reals += [real for group in value["calibration"] for real in group[:2]]
    assert all(real == round(real, 3) for real in reals)


def test_same_seed_gives_the_same_intervals(case):
    labels, scores = case
    assert measure(labels, scores, seed=4) == measure(labels, scores, seed=4)
    low, high = measure(labels, scores, seed=4).ap_interval
    assert low < measure(labels, scores, seed=4).ap < high
