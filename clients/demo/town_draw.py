"""The distributions from which the town's columns are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from protocols.vertical.contract import Column

Values = NDArray[np.float64]
Levels = NDArray[np.object_]
Field = tuple[Column, Values | Levels]


@dataclass(frozen=True, slots=True)
class Draw:
    """Draws one value for each of `count` people."""

    random: np.random.Generator = field(repr=False)
    count: int

    def counts(self, level: Values | float, spread: float, high: float) -> Values:
        """Return whole numbers around e^level: many zeros, and a long tail up to `high`."""
        noise = spread * self.random.standard_normal(self.count)
        return np.clip(np.floor(np.exp(level + noise)), 0, high)

    def money(self, level: Values | float, spread: float, high: float) -> Values:
        """Return amounts around e^level in thousands, as people agree on them."""
        noise = spread * self.random.standard_normal(self.count)
        return np.clip(np.round(np.exp(level + noise), -3), 0, high)

    def levels(
        self, names: Sequence[str], weights: Sequence[float], *, absent: float = 0.0
    ) -> Levels:
        """Return level names in the given proportions; None in a share of `absent`."""
        share = np.asarray(weights) / np.sum(weights)
        chosen = self.random.choice(np.asarray(names, dtype=object), self.count, p=share)
        return self.without(chosen, absent)

    def without(self, values: Levels, share: float) -> Levels:
        """Take a share of the values away."""
        left = values.copy()
        left[self.random.random(self.count) < share] = None
        return left

    def gaps(self, values: Values, share: float) -> Values:
        """Take a share of the numbers away."""
        return np.where(self.random.random(self.count) < share, np.nan, values)

    def happens(self, score: Values | float) -> NDArray[np.bool_]:
        """Return what comes true, given its log-odds."""
        return self.random.random(self.count) < 1 / (1 + np.exp(-score))
