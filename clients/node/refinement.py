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
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from clients.node.table import Table
from protocols.vertical.contract import Category

Reals = NDArray[np.float64]

_MAX_CATEGORIES = 255
_SEEDS = (0, 1, 2)
_SETTINGS = {
    "learning_rate": 0.05,
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

    Shapes:
        logits, labels, train, results: (rows,).
    """
    own, categories = _matrix(table)
    joined = np.column_stack([own, logits])
    return (
        _fit(joined, [*categories, False], labels, train),
        _fit(own, categories, labels, train),
    )


def probabilities(logits: Reals, labels: Reals, train: NDArray[np.bool_]) -> Reals:
    """Calibrate joint logits to probabilities on the training rows (Platt scaling)."""
    model = LogisticRegression(C=1e6)
    model.fit(logits[train, None], labels[train])
    fitted: Reals = model.predict_proba(logits[:, None])[:, 1]
    return fitted


def _fit(values: Reals, categories: list[bool], labels: Reals, train: NDArray[np.bool_]) -> Reals:
    """Average the log odds of models that differ in their seed alone."""
    total = np.zeros(len(labels))
    for seed in _SEEDS:
        model = HistGradientBoostingClassifier(
            random_state=seed, categorical_features=categories, **_SETTINGS
        )
        model.fit(values[train], labels[train])
        total += model.decision_function(values)
    averaged: Reals = 1 / (1 + np.exp(-total / len(_SEEDS)))
    return averaged


def _matrix(table: Table) -> tuple[Reals, list[bool]]:
    columns, categories = [], []
    for column in table.contract.columns:
        values = table.columns[column.name].astype(np.float64)
        values[values < 0] = np.nan if isinstance(column, Category) else values[values < 0]
        columns.append(values)
        categories.append(isinstance(column, Category) and len(column.levels) <= _MAX_CATEGORIES)
    return np.column_stack(columns), categories
