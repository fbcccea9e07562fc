"""The two references of `uplift recovered`: boosted trees alone, and on pooled columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

_MAX_CATEGORIES = 255


def reference_auc(
    frame: pl.DataFrame,
    names: Sequence[str],
    labels: NDArray[np.float64],
    held_out: NDArray[np.bool_],
) -> float:
    """Return the held-out AUC of scikit-learn's boosting without privacy on these columns."""
    values, categories = matrix(frame, names)
    model = HistGradientBoostingClassifier(
        learning_rate=0.07,
        max_iter=120,
        random_state=0,
        categorical_features=categories,
        # All 120 iterations: stopping early would make the figure hang on the order of rows.
        early_stopping=False,
    )
    with threadpool_limits(1, "openmp"):  # the same here as at a partner
        model.fit(values[~held_out], labels[~held_out])
    return float(roc_auc_score(labels[held_out], model.predict_proba(values[held_out])[:, 1]))


def matrix(frame: pl.DataFrame, names: Sequence[str]) -> tuple[NDArray[np.float64], list[bool]]:
    """Return columns as numbers; levels as codes in sorted order, missing as NaN."""
    columns, categories = [], []
    for name in names:
        series = frame[name]
        text = series.dtype in (pl.String, pl.Categorical, pl.Boolean)
        if text:
            levels = series.cast(pl.String).drop_nulls().unique().sort().to_list()
            codes = {level: float(code) for code, level in enumerate(levels)}
            series = series.cast(pl.String).replace_strict(
                codes, default=None, return_dtype=pl.Float64
            )
            categories.append(len(levels) <= _MAX_CATEGORIES)
        else:
            categories.append(False)
        columns.append(series.cast(pl.Float64).fill_null(np.nan).to_numpy())
    return np.column_stack(columns), categories
