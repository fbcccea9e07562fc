"""Pairs: products of two columns' coarse coordinates, beside the binning coordinates.

    binning coordinates -> coarse     a number's knots drawn together to a few, by its means
                        -> centred    by the same means
                        -> products   of every two columns that are narrow enough
                        -> clipped    by a bound that follows from those means

A linear head over products hears what two columns say together and neither says alone.
Nothing is fitted: every number here follows from the contract, the plan and the released
means of the binning coordinates, so that pairs cost no privacy and are never stored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from protocols.errors import UnsupportedParameterError
from protocols.vertical.axis import Reals, hats
from protocols.vertical.binning import ColumnCode
from protocols.vertical.contract import Category, Column

MAX_PAIRS = 6
# A column with more coarse coordinates than this stands in no pair: its products would be
# many and rare.
MAX_COARSE_WIDTH = 32
# As for the binning coordinates: a smaller bound would clip too many rows if the means
# were far off.
_LEAST_BOUND = 0.05
_SLACK = 1.15

Pair = tuple[int, int]


def pairs_of(columns: Sequence[Column], knots: int) -> tuple[Pair, ...]:
    """Return which columns stand in pairs, by the contract alone."""
    narrow = [
        index
        for index, column in enumerate(columns)
        if _coarse_width(column, knots) <= MAX_COARSE_WIDTH
    ]
    return tuple(combinations(narrow, 2))


def check_pairs(columns: Sequence[Column], knots: int) -> None:
    """Refuse more pairs than a row can hold.

    Raises:
        UnsupportedParameterError: names the field, the rule and the cure.
    """
    count = len(pairs_of(columns, knots))
    if count > MAX_PAIRS:
        raise UnsupportedParameterError(
            f"encoder.pairs_weight: the columns make {count} pairs, at most {MAX_PAIRS} are "
            "allowed; take 0 or name fewer columns"
        )


@dataclass(frozen=True, slots=True)
class Pairs:
    """Products of coarse columns, as a further part of an encoded row.

    Attributes:
        weight: their share of the squared norm of an encoded row.
        knots: coarse coordinates of a number, before a missing value.
        pairs: the columns of each pair, by their place in the contract.
        maps: by column, from binning to coarse coordinates; (width, coarse).
        means: by column, what is taken off its coarse coordinates.
        bound: the norm that rows are cut to.
    """

    weight: float
    knots: int
    pairs: tuple[Pair, ...]
    maps: tuple[Reals, ...] = field(repr=False)
    means: tuple[Reals, ...] = field(repr=False)
    bound: float

    @classmethod
    def of(
        cls, codes: Sequence[ColumnCode], means: Reals, *, weight: float, knots: int
    ) -> Pairs | None:
        """Derive the products from the released means, or None if no two columns can pair.

        Shapes:
            means: (width,), with weight 1/sqrt(columns).

        Privacy:
            Post-processing: looks at no row.
        """
        pairs = pairs_of([code.column for code in codes], knots)
        if not pairs:
            return None
        shares = _by_column(codes, means[None, :])
        maps = tuple(
            coarsening(code, share[0], knots) for code, share in zip(codes, shares, strict=True)
        )
        coarse = tuple(share[0] @ matrix for share, matrix in zip(shares, maps, strict=True))
        # The coordinates of a column are a histogram of its rows, so that the mean square
        # of a centred one is about what is missing from 1; a pair's, the product of two.
        varies = [1 - float((share**2).sum()) for share in coarse]
        mean_square = sum(varies[left] * varies[right] for left, right in pairs) / len(pairs)
        bound = _SLACK * math.sqrt(min(max(mean_square, _LEAST_BOUND), 1.0))
        return cls(weight, knots, pairs, maps, coarse, bound)

    @property
    def widths(self) -> tuple[int, ...]:
        """Return how many coordinates each pair has."""
        return tuple(len(self.means[left]) * len(self.means[right]) for left, right in self.pairs)

    @property
    def spread(self) -> Reals:
        """Return about how much each coordinate varies, as if both columns were independent."""
        products = [np.outer(self.means[left], self.means[right]) for left, right in self.pairs]
        flat = np.concatenate([product.ravel() for product in products])
        spread: Reals = flat / (len(self.pairs) * self.bound**2)
        return spread

    def encode(self, codes: Sequence[ColumnCode], joined: Reals) -> Reals:
        """Multiply out rows to vectors of length at most 1, whatever the rows.

        Shapes:
            joined: (rows, width) with weight 1/sqrt(columns), not centred;
            result: (rows, pairs' width).
        """
        shares = _by_column(codes, joined)
        centred = [
            share @ matrix - mean
            for share, matrix, mean in zip(shares, self.maps, self.means, strict=True)
        ]
        rows = len(joined)
        products = [
            (centred[left][:, :, None] * centred[right][:, None, :]).reshape(rows, width)
            for (left, right), width in zip(self.pairs, self.widths, strict=True)
        ]
        result: Reals = np.concatenate(products, axis=1)
        result /= math.sqrt(len(self.pairs))
        result /= np.maximum(np.linalg.norm(result, axis=1, keepdims=True), self.bound)
        return result


def coarsening(code: ColumnCode, shares: Reals, knots: int) -> Reals:
    """Draw a number's knots together to `knots`, at equal shares of its rows.

    Every fine coordinate goes to the two coarse ones between which the middle of its rows
    lies. A missing value stays a coordinate of its own, and categories stay as they are.

    Shapes:
        shares: (width,), the means of the column's coordinates; result: (width, coarse),
        at least 0, rows sum to 1.
    """
    first = int(code.column.missing)
    if isinstance(code.column, Category) or code.width - first <= knots:
        return np.eye(code.width)
    held = np.maximum(shares[first:], 0.0)
    held /= max(float(held.sum()), 1e-9)
    # Along the axis, not in the order of coordinates: a spike stands where its value does.
    order = np.argsort(np.array(code.positions[first:]), kind="stable")
    middles = np.empty_like(held)
    middles[order] = np.clip(np.cumsum(held[order]) - held[order] / 2, 0.0, 1.0)
    result = np.zeros((code.width, first + knots))
    result[:first, :first] = 1.0
    result[first:, first:] = hats(middles * (knots - 1), np.arange(knots, dtype=np.float64))
    return result


def _coarse_width(column: Column, knots: int) -> int:
    """Return the most coarse coordinates that a column can have."""
    own = len(column.levels) if isinstance(column, Category) else knots
    return own + int(column.missing)


def _by_column(codes: Sequence[ColumnCode], joined: Reals) -> list[Reals]:
    """Cut joined coordinates into columns and take their common weight off again."""
    ends = np.cumsum([code.width for code in codes])[:-1]
    return [part * math.sqrt(len(codes)) for part in np.split(joined, ends, axis=1)]
