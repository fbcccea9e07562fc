"""Why the sum of two discrete Gaussians is accounted for as one Gaussian.

Each of two parties adds N_Z(0, s^2) to an integer vector, and the recipient sees the sum.
Two steps lead from there to the exact Gaussian price of variance 2 s^2:

1. The sum of two discrete Gaussians is nearly one (`sum_divergence_bound`): coordinate by
   coordinate the probabilities differ by a factor within e^(+-tau / 2).
2. One discrete Gaussian is nearly a Gaussian rounded to integers (`gaussian_gap`), and
   rounding after adding integers costs nothing. The factor left is bounded over all
   coordinates at once, outside of a tail.

At the scales of fixed-point training (s of 2^20 and more) both are far below what is shown
of any epsilon; a plan checks it once, with the count of all coordinates of all steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from protocols.errors import UnsupportedParameterError

# The largest addition to epsilon^2 by the sum that may go without an entry in the ledger.
_NEGLIGIBLE = 1e-15
_TAIL_PROBABILITY = 1e-20


@dataclass(frozen=True, slots=True)
class Gap:
    """What turns the exact Gaussian price (e, d) into one that leaves nothing out.

    It is e + `epsilon` and, with b = `delta`, exp(`epsilon`) (d + (1 + exp(e)) b).
    """

    epsilon: float
    delta: float


def sum_divergence_bound(sigma_squared_each: int | Fraction, dimension: int) -> float:
    """Return tau of the sum of two discrete Gaussians, or refuse noise that is too narrow.

    Args:
        sigma_squared_each: variance parameter of each of the two summands.
        dimension: count of coordinates over all releases that are accounted for together.

    Raises:
        UnsupportedParameterError: tau dimension / 2 exceeds 1e-15.

    Privacy:
        The release is 1/2 epsilon^2 zCDP with epsilon^2 = D^2 / (2 sigma^2) + tau d / 2, D
        the L2 sensitivity. What passes here adds at most 1e-15 to epsilon^2 and is charged
        as `Gaussian(noise_multiplier = sqrt(2) sigma / D)`.

    Source:
        Kairouz, Liu and Steinke 2021 (arXiv 2102.06387), Theorem 1 with n = 2.
    """
    tau = 10 * math.exp(-(math.pi**2) * _checked(sigma_squared_each))
    if not tau * dimension / 2 <= _NEGLIGIBLE:
        raise UnsupportedParameterError(
            f"sigma_squared_each: too narrow for {dimension} coordinates; use a finer fixed point"
        )
    return tau


def gaussian_gap(sigma_squared_each: int | Fraction, dimension: int) -> Gap:
    """Bound what the exact Gaussian price leaves out for a sum of two discrete Gaussians.

    Args:
        sigma_squared_each: variance parameter of each of the two summands.
        dimension: count of coordinates over all releases that are accounted for together.

    Privacy:
        Let S = 2 sigma^2. For |k| <= K sqrt(S) the probabilities of N_Z(0, S) and of the
        rounded N(0, S) at k differ by a factor within e^(+-(1 + K^2) / (8 S)), by Jensen
        below and cosh x <= e^(x^2 / 2) above; their constants by one within
        e^(+-3 e^(-2 pi^2 S)), by Poisson summation. K leaves out 1e-20 by the union bound.
        Both neighbours are exchanged for rounded Gaussians, hence twice.
    """
    tau = sum_divergence_bound(sigma_squared_each, dimension)
    variance = 2 * _checked(sigma_squared_each)
    # Both laws have the Gaussian tail bound; one more unit allows for the rounding.
    tail = math.sqrt(2 * math.log(2 * dimension / _TAIL_PROBABILITY)) + 1
    per_coordinate = (1 + tail**2) / (8 * variance) + 3 * math.exp(-2 * math.pi**2 * variance) + tau
    return Gap(epsilon=2 * dimension * per_coordinate, delta=_TAIL_PROBABILITY)


def _checked(sigma_squared: int | Fraction) -> float:
    if not sigma_squared >= 1:
        raise UnsupportedParameterError("sigma_squared_each: less than 1; use a finer fixed point")
    return float(sigma_squared)
