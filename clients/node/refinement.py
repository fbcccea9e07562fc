"""The label holder's last step: its own columns and the joint score, in a model it keeps.

The joint head is linear, and a partner's evidence often means more for one kind of
customer than for another. The label holder may look at its own columns as it likes and
receives its customers' joint scores, so it fits gradient-boosted trees on both. Nothing
of this leaves the label holder; towards the other partners it is post-processing of the
scores that were opened to it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from threadpoolctl import threadpool_limits

from clients.node.table import Table
from protocols.vertical.contract import Category

Reals = NDArray[np.float64]

_MAX_CATEGORIES = 255
# Slow and many rather than fast and few: with some thousand rows, or few cases, single
# models differ more from one another than the partners' score moves them.
_SEEDS = (0, 1, 2, 3, 4)
_SETTINGS = {
    "learning_rate": 0.03,
    "max_iter": 200,
    "max_leaf_nodes": 15,
    "min_samples_leaf": 30,
    "l2_regularization": 5.0,
    "max_features": 0.5,
}


def refine(
    table: Table, logits: Reals, labels: Reals, train: NDArray[np.bool_]
) -> tuple[Reals, Reals]:
    """Return probabilities of all rows with the joint score, and without it for comparison.

    A label holder without columns of its own has nothing but the base rate to compare with.

    Shapes:
        logits, labels, train, results: (rows,).
    """
    own, categories = _matrix(table)
    alone = np.full(len(labels), labels[train].mean())
    if categories:
        alone = _fit(own, categories, labels, train)
    joined = np.column_stack([own, logits])
    return (
        _fit(joined, [*categories, False], labels, train),
        alone,
    )


def probabilities(logits: Reals, rate: float) -> Reals:
    """Read joint logits as probabilities: they are offsets from the logit of the base rate.

    Nothing is fitted here, so that only rows that were opened are looked at.
    """
    read: Reals = expit(logit(rate) + logits)
    return read


def _fit(values: Reals, categories: list[bool], labels: Reals, train: NDArray[np.bool_]) -> Reals:
    """Average the log odds of models that differ in their seed alone."""
    # Only the label holder loads it.
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415  slow

    total = np.zeros(len(labels))
    # Threads gain nothing up to some hundred thousand rows, and on a busy machine they wait
    # for one another at every leaf.
    with threadpool_limits(1, "openmp"):
        for seed in _SEEDS:
            model = HistGradientBoostingClassifier(
                random_state=seed, categorical_features=categories, **_SETTINGS
            )
            model.fit(values[train], labels[train])
            total += model.decision_function(values)
    averaged: Reals = expit(total / len(_SEEDS))
    return averaged


def _matrix(table: Table) -> tuple[Reals, list[bool]]:
    columns, categories = [np.empty((table.rows, 0))], []
    for column in table.contract.columns:
        values = table.columns[column.name].astype(np.float64)
        values[values < 0] = np.nan if isinstance(column, Category) else values[values < 0]
        columns.append(values[:, None])
        categories.append(isinstance(column, Category) and len(column.levels) <= _MAX_CATEGORIES)
    return np.concatenate(columns, axis=1), categories
