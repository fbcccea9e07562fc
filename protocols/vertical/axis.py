"""From one number to a few bounded coordinates: axes, grids and hat functions.

A column's public range is first stretched where its values are many orders of magnitude
apart (counts, amounts), then covered by knots. A value becomes the weights of its two
neighbouring knots, so that a linear model over the coordinates is piecewise linear in
the value. The coordinates of one value are at least 0 and sum to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocols.vertical.contract import Numeric

Reals = NDArray[np.float64]

# Ranges of up to this many whole numbers are left as they are.
_PLAIN_SPAN = 255
# A range spans this many units before the stretched axis turns logarithmic.
_UNITS = 1e5


@dataclass(frozen=True, slots=True)
class Axis:
    """A monotone stretch of a public range: asinh((x - offset) / unit), or the identity.

    asinh is linear near `offset` and logarithmic far from it on both sides, so that
    heavy tails keep their resolution and values below zero need no special case.
    """

    low: float
    high: float
    offset: float
    unit: float | None

    @classmethod
    def of(cls, column: Numeric) -> Axis:
        """Choose the axis by the contract alone."""
        low, high = column.low, column.high
        whole = low == round(low) and high == round(high)
        if whole and high - low <= _PLAIN_SPAN:
            return cls(low, high, 0.0, None)
        unit = (high - low) / _UNITS
        if whole:
            unit = max(unit, 1.0)
        offset = low if low > 0 else high if high < 0 else 0.0
        return cls(low, high, offset, unit)

    @property
    def levels(self) -> int | None:
        """Return how many whole numbers a plain axis has, None for a stretched one."""
        return None if self.unit is not None else int(self.high - self.low) + 1

    def stretch(self, values: Reals) -> Reals:
        """Map values of the range onto the axis."""
        if self.unit is None:
            return values
        stretched: Reals = np.arcsinh((values - self.offset) / self.unit)
        return stretched

    def grid(self, count: int) -> Reals:
        """Return `count` equally spaced knots on the axis, or one for each level if fewer."""
        if self.levels is not None:
            return np.linspace(self.low, self.high, min(self.levels, count))
        low, high = self.stretch(np.array([self.low, self.high]))
        knots = np.linspace(low, high, count)
        if low < 0 < high:
            # A knot at zero itself: signs differ in meaning, and zeros are often many.
            knots -= knots[np.abs(knots).argmin()]
        return knots


def hats(values: Reals, knots: Reals) -> Reals:
    """Return each value's weights on its two neighbouring knots.

    Shapes:
        values: (rows,); knots: (count,), rising; result: (rows, count), rows sum to 1.
    """
    result = np.zeros((len(values), len(knots)))
    if len(knots) == 1:
        result[:, 0] = 1.0
        return result
    left = np.clip(np.searchsorted(knots, values, side="right") - 1, 0, len(knots) - 2)
    span = knots[left + 1] - knots[left]
    share = np.clip((values - knots[left]) / span, 0.0, 1.0)
    rows = np.arange(len(values))
    result[rows, left] = 1 - share
    result[rows, left + 1] = share
    return result


def nearest(values: Reals, knots: Reals) -> NDArray[np.int64]:
    """Return the index of each value's nearest knot; knots are rising."""
    middles = (knots[1:] + knots[:-1]) / 2
    return np.searchsorted(middles, values).astype(np.int64)
