"""How good a score is on held-out people, with intervals and calibration.

The figures are exact, not noised: they are listed as such in every run record, and
rounded to three decimals before they leave the label holder.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 200
_QUANTILE_95 = 1.959964
_BINS = 10
_DECIMALS = 3


@dataclass(frozen=True, slots=True)
class Metrics:
    """Discrimination and calibration; intervals are 95 %."""

    rows: int
    positives: int
    auc: float
    auc_interval: tuple[float, float]
    ap: float
    ap_interval: tuple[float, float]
    brier: float
    calibration: tuple[tuple[float, float, int], ...]

    def rounded(self) -> dict[str, Any]:
        """Return the JSON form that may leave the label holder."""
        value = asdict(self)
        for name in ("auc", "ap", "brier"):
            value[name] = round(value[name], _DECIMALS)
        for name in ("auc_interval", "ap_interval"):
            value[name] = [round(end, _DECIMALS) for end in value[name]]
        value["calibration"] = [
            [round(mean, _DECIMALS), round(rate, _DECIMALS), count]
            for mean, rate, count in self.calibration
        ]
        return value


def measure(
    labels: NDArray[np.float64], scores: NDArray[np.float64], *, seed: int
) -> Metrics | None:
    """Measure probabilities against labels; None where one class is absent.

    Shapes:
        labels, scores: (rows,); scores in [0, 1].
    """
    from sklearn.metrics import average_precision_score, roc_auc_score  # noqa: PLC0415  slow

    positives = int(labels.sum())
    if positives == 0 or positives == len(labels):
        return None
    auc = float(roc_auc_score(labels, scores))
    width = _QUANTILE_95 * _auc_deviation(labels, scores)
    ap = float(average_precision_score(labels, scores))
    return Metrics(
        rows=len(labels),
        positives=positives,
        auc=auc,
        auc_interval=(max(0.0, auc - width), min(1.0, auc + width)),
        ap=ap,
        ap_interval=_ap_interval(labels, scores, seed),
        brier=float(np.mean((scores - labels) ** 2)),
        calibration=_calibration(labels, scores),
    )


def _auc_deviation(labels: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    """Return DeLong's standard deviation of the AUC (DeLong et al. 1988, section 2)."""
    positive, negative = scores[labels == 1], scores[labels == 0]
    above_positive = _placements(positive, negative)
    above_negative = 1 - _placements(negative, positive)
    variance = _variance(above_positive) / len(positive) + _variance(above_negative) / len(negative)
    return float(np.sqrt(variance))


def _variance(values: NDArray[np.float64]) -> float:
    return float(np.var(values, ddof=1)) if len(values) > 1 else 0.0


def _placements(values: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    ordered = np.sort(others)
    below = np.searchsorted(ordered, values, "left")
    up_to = np.searchsorted(ordered, values, "right")
    result: NDArray[np.float64] = (below + up_to) / (2 * len(others))
    return result


def _ap_interval(
    labels: NDArray[np.float64], scores: NDArray[np.float64], seed: int
) -> tuple[float, float]:
    """Return the percentile interval over stratified resamples."""
    from sklearn.metrics import average_precision_score  # noqa: PLC0415  slow

    generator = np.random.default_rng(seed)
    positive, negative = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    values = []
    for _ in range(_RESAMPLES):
        rows = np.concatenate([generator.choice(part, len(part)) for part in (positive, negative)])
        values.append(average_precision_score(labels[rows], scores[rows]))
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _calibration(
    labels: NDArray[np.float64], scores: NDArray[np.float64]
) -> tuple[tuple[float, float, int], ...]:
    """Return (mean score, rate, rows) of ten groups of equal size, by score."""
    groups = np.array_split(np.argsort(scores, kind="stable"), _BINS)
    return tuple(
        (float(scores[group].mean()), float(labels[group].mean()), len(group))
        for group in groups
        if len(group)
    )
