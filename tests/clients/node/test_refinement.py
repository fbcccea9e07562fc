"""The label holder's refinement: it uses the score in context, and training rows alone."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from clients.node.refinement import probabilities, refine
from clients.node.table import Table
from protocols.vertical.contract import MISSING_LEVEL, Category, Contract, Numeric

ROWS = 1_500


@pytest.fixture(scope="module")
def town():
    # The score tells of the label in one branch and of nothing in the other, so that only
    # a model of both together can be good.
    random = np.random.default_rng(3)
    branch = random.integers(0, 2, ROWS)
    income = random.standard_normal(ROWS)
    score = random.standard_normal(ROWS)
    logit = np.where(branch == 1, 3 * score, income)
    labels = (logit + random.logistic(size=ROWS) > 0).astype(np.float64)
    branch[:20], income[20:40] = MISSING_LEVEL, np.nan
    contract = Contract(
        (Category("branch", ("a", "b"), missing=True), Numeric("income", -9, 9, missing=True)),
        "id",
        "opaque",
        "y",
    )
    columns = {"branch": branch, "income": income}
    table = Table(contract, [str(row) for row in range(ROWS)], columns, labels, None)
    return table, score, labels, np.arange(ROWS) % 2 == 0


def held_out_auc(scores, labels, train):
    return float(roc_auc_score(labels[~train], scores[~train]))


def test_score_counts_where_it_tells(town):
    table, score, labels, train = town
    joint, alone = refine(table, score, labels, train)
    assert held_out_auc(joint, labels, train) > held_out_auc(alone, labels, train) + 0.1
    assert held_out_auc(joint, labels, train) > held_out_auc(score, labels, train) + 0.05


@pytest.mark.slow
def test_results_are_probabilities(town):
    table, score, labels, train = town
    for result in refine(table, score, labels, train):
        assert result.shape == labels.shape
        assert 0 < result.min() < result.max() < 1
        assert abs(result[train].mean() - labels[train].mean()) < 0.03


@pytest.mark.slow
def test_held_out_labels_change_nothing(town):
    table, score, labels, train = town
    others = np.where(train, labels, 1 - labels)
    for first, second in zip(
        refine(table, score, labels, train), refine(table, score, others, train), strict=True
    ):
        assert np.array_equal(first, second)


def test_constant_score_adds_nothing(town):
    table, _, labels, train = town
    joint, alone = refine(table, np.zeros(ROWS), labels, train)
    assert abs(held_out_auc(joint, labels, train) - held_out_auc(alone, labels, train)) < 0.02


def test_label_holder_without_columns_has_the_rate_alone(town):
    table, score, labels, train = town
    bare = Table(Contract((), "id", "opaque", "y"), table.identifiers, {}, labels, None)
    joint, alone = refine(bare, score, labels, train)
    assert np.all(alone == labels[train].mean())
    assert held_out_auc(joint, labels, train) > 0.6


def test_joint_logits_are_read_off_the_rate(town):
    _, score, _, _ = town
    read = probabilities(score, 0.2)
    assert np.array_equal(np.argsort(read), np.argsort(score))
    assert probabilities(np.zeros(1), 0.2)[0] == pytest.approx(0.2)
