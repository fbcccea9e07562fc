"""The binning encoder of one column: coordinates of norm at most 1, the same at every scoring.

A missing value is a coordinate of its own, and so is every spike; all other values are
spread over the two neighbouring knots. Levels of a category are one-hot. In every case
the coordinates of a row are at least 0 and sum to 1, hence their length is at most 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocols.vertical.axis import Axis, Reals, hats
from protocols.vertical.contract import Category, Column, Numeric
from protocols.vertical.edges import Knots

MISSING = math.nan


@dataclass(frozen=True, slots=True)
class ColumnCode:
    """How one column is encoded; `knots` is None for a category."""

    column: Column
    knots: Knots | None

    @property
    def width(self) -> int:
        """Return how many coordinates the column has."""
        return len(self.positions)

    @property
    def positions(self) -> tuple[float, ...]:
        """Return each coordinate's place in [0, 1] along the column, NaN where it has none."""
        first = (MISSING,) if self.column.missing else ()
        if isinstance(self.column, Category):
            return first + (MISSING,) * len(self.column.levels)
        if self.knots is None:
            raise ValueError(f"{self.column.name}: a number needs knots")
        return first + self.knots.positions

    def encode(self, values: NDArray[np.float64] | NDArray[np.int64]) -> Reals:
        """Encode a column.

        Shapes:
            values: (rows,), checked against the contract; result: (rows, width).
        """
        if isinstance(self.column, Numeric):
            coordinates = self._numbers(self.column, values.astype(np.float64))
            absent = np.isnan(values)
        else:
            coordinates = np.eye(len(self.column.levels))[np.maximum(values, 0).astype(np.int64)]
            absent = values < 0
        if not self.column.missing:
            return coordinates
        coordinates[absent] = 0.0
        return np.concatenate([absent[:, None].astype(np.float64), coordinates], axis=1)

    def _numbers(self, column: Numeric, values: Reals) -> Reals:
        if self.knots is None:
            raise ValueError(f"{column.name}: a number needs knots")
        filled = np.where(np.isnan(values), column.low, values)
        # A value outside of the range can only come after the contract was checked, at
        # scoring; the nearest end stands for it.
        stretched = Axis.of(column).stretch(np.clip(filled, column.low, column.high))
        between = hats(stretched, np.array(self.knots.knots))
        if len(self.knots.positions) == 1:
            return between[:, -1:]
        single = []
        for spike in self.knots.spikes:
            here = np.abs(stretched - spike) <= self.knots.reach
            between[here] = 0.0
            single.append(here[:, None].astype(np.float64))
        return np.concatenate([*single, between], axis=1)
