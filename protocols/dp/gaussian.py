"""The exact price of Gaussian noise, computed so that rounding never lowers it.

Any adaptive composition of Gaussian mechanisms is one Gaussian mechanism: releases with
noise multipliers s_i cost together what one with mu^2 = sum 1 / s_i^2 costs, and its
trade-off between epsilon and delta is known in closed form:

    delta(epsilon) = Phi(-epsilon/mu + mu/2) - e^epsilon Phi(-epsilon/mu - mu/2)

Both directions of the neighbouring relation have this same curve. Every function here
returns a float that is at least the true value, and close to it.

Source: Balle and Wang 2018 (arXiv 1805.06530), Theorem 8; Dong, Roth and Su 2019
(arXiv 1905.02383), Corollary 2.1 and Corollary 3.3.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from fractions import Fraction

_UNIT = 2.0**-53
# A generous bound on the relative error of erfcx, ndtr, exp and log as used below.
_FUNCTION_ERROR = 1e-14
# Beyond this many standard deviations log(delta) is below -5e7, far under any float.
_FAR = 1e4
_FAR_LOG_DELTA = -1e7
_BISECTIONS = 200


def mu_squared_of(releases: Iterable[tuple[float, int]]) -> float:
    """Return the sum of count / noise_multiplier^2, rounded up.

    Args:
        releases: pairs of noise multiplier and count.
    """
    counts: dict[float, int] = {}
    for noise_multiplier, count in releases:
        counts[noise_multiplier] = counts.get(noise_multiplier, 0) + count
    # Each term is rounded up before the sum: sums of floats are exact as fractions and
    # short, sums of quotients are not.
    terms = (_float_above(Fraction(n) / Fraction(s) ** 2) for s, n in counts.items())
    return _float_above(sum((Fraction(term) for term in terms), Fraction(0)))


def log_delta(mu: float, epsilon: float) -> float:
    """Return a bound on log(delta) at `epsilon`; it exceeds the truth by rounding only.

    Args:
        mu: greater than 0.
        epsilon: at least 0.
    """
    near = epsilon / mu - mu / 2
    far = epsilon / mu + mu / 2
    if near > _FAR:
        return _FAR_LOG_DELTA
    if near < 0:
        # The rounding of `near` moves Phi by at most its density times the error.
        slack = _FUNCTION_ERROR + 4 * _UNIT * far
        value = _phi(-near) - math.exp(-near * near / 2) * _mills(far) / _SQRT_TWO_PI
        return math.log(min(1.0, value + slack))
    # e^epsilon cancels against the ratio of the two densities, which leaves a difference
    # of Mills ratios: no overflow, and no cancellation but the one that is inherent.
    ratio = _mills(near)
    value = ratio - _mills(far) + _FUNCTION_ERROR * ratio
    slack = _FUNCTION_ERROR + 8 * _UNIT * near * far
    return math.log(value / _SQRT_TWO_PI) - near * near / 2 + slack


def delta_at(mu_squared: float, epsilon: float) -> float:
    """Return delta at `epsilon`, never below the truth."""
    if mu_squared == 0:
        return 0.0
    bound = math.exp(log_delta(root_above(mu_squared), epsilon)) * (1 + _FUNCTION_ERROR)
    return min(1.0, max(bound, sys.float_info.min))


def epsilon_at(mu_squared: float, delta: float) -> float:
    """Return the smallest epsilon found whose delta is at most `delta`, never below the truth."""
    if mu_squared == 0:
        return 0.0
    mu = root_above(mu_squared)
    log_target = math.log(delta) * (1 + 4 * _UNIT)
    if log_delta(mu, 0.0) <= log_target:
        return 0.0
    # The plain tail bound delta <= exp(-near^2 / 2) gives a point on the safe side.
    low, high = 0.0, (mu * (mu / 2 + math.sqrt(-2 * log_target) + 1))
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        if log_delta(mu, middle) <= log_target:
            high = middle
        else:
            low = middle
    return high


def root_above(value: float) -> float:
    """Return a float that is at least the square root of `value`, by at most one step."""
    root = math.sqrt(value)
    return root if Fraction(root) ** 2 >= Fraction(value) else math.nextafter(root, math.inf)


def _float_above(value: Fraction) -> float:
    nearest = float(value)
    return nearest if Fraction(nearest) >= value else math.nextafter(nearest, math.inf)


_SQRT_TWO_PI = math.sqrt(2 * math.pi)


def _phi(x: float) -> float:
    """Return the normal distribution function."""
    # Loaded at the first price: most commands load the ledger's rules and price nothing.
    from scipy.special import ndtr  # noqa: PLC0415

    return float(ndtr(x))


def _mills(x: float) -> float:
    """Return Phi(-x) / phi(x) for x >= 0."""
    from scipy.special import erfcx  # noqa: PLC0415  as above

    return math.sqrt(math.pi / 2) * float(erfcx(x / math.sqrt(2)))
