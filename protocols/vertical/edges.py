"""Knots from a differentially private histogram, fine where the values are.

A histogram over a fine public grid is noised once; everything after that is
post-processing. Values that hold a large share of the rows (the zeros of a count) become
levels of their own, and the other knots stand at equal shares of the remaining rows, so
that tails with few rows are neither lost nor given more knots than the noise allows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocols.vertical.axis import Axis, Reals, nearest
from protocols.vertical.contract import Numeric

FINE_BINS = 256
# Where a single ramp stands along its column.
MIDDLE = 0.5
# A bin is a spike if it holds this share of the rows and stands out of the noise.
_SPIKE_SHARE = 0.05
_SPIKE_DEVIATIONS = 6.0


@dataclass(frozen=True, slots=True)
class Knots:
    """Where a numeric column is divided: single values of their own, and knots between.

    Attributes:
        spikes: axis values with a level of their own; `reach` on either side counts as it.
        knots: rising axis values that carry the hat functions.
        positions: of spikes, then knots, as shares of the rows in [0, 1]; what
            neighbouring coordinates have in common is smoothed along it. One position
            for two knots is a ramp: the weight of the upper knot alone.
    """

    spikes: tuple[float, ...]
    knots: tuple[float, ...]
    positions: tuple[float, ...]
    reach: float


def fixed_knots(column: Numeric, count: int) -> Knots:
    """Divide the public range evenly on its axis; looks at no row and costs nothing."""
    grid = Axis.of(column).grid(max(count, 2))
    if count == 1:
        return Knots((), (float(grid[0]), float(grid[-1])), (MIDDLE,), 0.0)
    span = max(float(grid[-1] - grid[0]), 1e-12)
    return Knots((), tuple(grid.tolist()), tuple(((grid - grid[0]) / span).tolist()), 0.0)


def histogram(column: Numeric, values: Reals) -> NDArray[np.int64]:
    """Count the rows nearest to each point of the fine public grid; missing values count nowhere.

    Shapes:
        values: (rows,); result: (bins,), bins = `fine_grid(column)`'s length.

    Privacy:
        One person adds 1 to at most one bin. The caller adds noise and charges for it.
    """
    axis, grid = Axis.of(column), fine_grid(column)
    present = values[~np.isnan(values)]
    counts: NDArray[np.int64] = np.bincount(
        nearest(axis.stretch(present), grid), minlength=len(grid)
    )
    return counts


def fine_grid(column: Numeric) -> Reals:
    """Return the public grid of the histogram."""
    return Axis.of(column).grid(FINE_BINS)


def private_knots(column: Numeric, counts: Reals, *, deviation: float, count: int) -> Knots:
    """Place knots by a noised histogram.

    Args:
        counts: the histogram with noise of standard deviation `deviation`.
        count: how many coordinates to aim at.
    """
    grid = fine_grid(column)
    rows = max(float(counts.sum()), 1.0)
    spikes = np.flatnonzero(counts > max(_SPIKE_DEVIATIONS * deviation, _SPIKE_SHARE * rows))
    rest = counts.copy()
    rest[spikes] = 0.0
    # Noise makes some counts negative; the running maximum is the nearest rising curve.
    share = np.maximum.accumulate(np.maximum(np.cumsum(rest), 0.0))
    total = max(float(share[-1]), 1e-9)
    levels = np.linspace(0, 1, max(2, count - len(spikes)) + 1)
    inner = np.searchsorted(share, np.clip(levels * total, 1e-6, total * (1 - 1e-9)))
    knots = np.unique(np.concatenate([grid[[0, -1]], grid[np.minimum(inner, len(grid) - 1)]]))
    positions = np.concatenate([share[spikes], np.interp(knots, grid, share)]) / total
    return Knots(
        tuple(grid[spikes].tolist()),
        tuple(knots.tolist()),
        tuple(positions.tolist()),
        float(grid[1] - grid[0]) / 2,
    )
