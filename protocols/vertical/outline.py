"""The outline of a row: what a network is shown of the binning coordinates.

    number      its place in [0, 1] along its axis, and whether it is missing
    category    its levels, and whether it is missing

Thirty knots serve a linear head, but a network would pay for each of them in noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from protocols.vertical.axis import Reals
from protocols.vertical.binning import ColumnCode
from protocols.vertical.contract import Category

# No input is further from its centre than this many of its deviations.
_FARTHEST = 4.0
_LEAST_VARIANCE = 0.01


def outline(codes: Sequence[ColumnCode], joined: Reals) -> Reals:
    """Sum up binning coordinates: a number's place in [0, 1], a missing value, each level.

    Shapes:
        joined: (rows, width) with weight 1/sqrt(columns), not centred; result: (rows, inputs).
    """
    parts, at = [], 0
    for code in codes:
        coordinates = joined[:, at : at + code.width]
        at += code.width
        if isinstance(code.column, Category):
            parts.append(coordinates)
            continue
        if code.column.missing:
            parts.append(coordinates[:, :1])
        parts.append((coordinates @ _places(code))[:, None])
    return np.concatenate(parts, axis=1) * math.sqrt(len(codes))


def centring_of(codes: Sequence[ColumnCode], means: Reals, deviation: float) -> tuple[Reals, Reals]:
    """Return centre and scale of each input, from the released means of the coordinates.

    The means of a column's hats are a histogram of its places, so that mean and variance
    of a place follow from them; the noisier they are, the more an even spread counts.

    Shapes:
        means: (width,), with weight 1/sqrt(columns); results: (inputs,).

    Args:
        deviation: of the noise in each of `means`; infinite if they were not released.

    Privacy:
        Post-processing: looks at no row.
    """
    centres: list[float] = []
    variances: list[float] = []
    at, rescale = 0, math.sqrt(len(codes))
    for code in codes:
        shares = means[at : at + code.width] * rescale
        at += code.width
        doubt = deviation * rescale * math.sqrt(code.width)
        trust = 1 / (1 + doubt) if math.isfinite(doubt) else 0.0
        levels = shares
        if not isinstance(code.column, Category):
            levels = shares[:1] if code.column.missing else shares[:0]
        rates = np.clip(trust * levels + (1 - trust) / code.width, 0.0, 1.0)
        centres += rates.tolist()
        variances += (rates * (1 - rates)).tolist()
        if not isinstance(code.column, Category):
            middle, variance = _moments(code, shares)
            centres.append(trust * middle + (1 - trust) / 2)
            variances.append(trust * variance + (1 - trust) / 12)
    return np.array(centres), np.sqrt(np.maximum(variances, _LEAST_VARIANCE))


def _is_ramp(code: ColumnCode) -> bool:
    return code.knots is not None and len(code.knots.positions) == 1


def _places(code: ColumnCode) -> Reals:
    """Return what each coordinate of a number adds to its place; nothing if it is missing."""
    places: Reals = np.nan_to_num(np.array(code.positions))
    if _is_ramp(code):
        places[-1] = 1.0
    return places


def _moments(code: ColumnCode, shares: Reals) -> tuple[float, float]:
    """Return mean and variance of a number's place."""
    places = _places(code)
    if _is_ramp(code):
        # A ramp tells the mean alone; the variance is that of an even spread if it is 1/2.
        middle = min(1.0, float(shares @ places))
        return middle, middle * (1 - middle) / 3
    total = max(float(shares.sum()), 1e-9)
    middle = float(shares @ places) / total
    return middle, float(shares @ places**2) / total - middle**2


def standardised(outlines: Reals, centre: Reals, scale: Reals) -> Reals:
    """Centre and scale inputs, and cut them off far from the centre."""
    inputs: Reals = np.clip((outlines - centre) / scale, -_FARTHEST, _FARTHEST)
    return inputs
