"""Exact samples of the discrete Gaussian on the integers: noise without a rounding leak.

N_Z(0, s^2) gives the integer x with probability proportional to e^(-x^2 / (2 s^2)).
Floating point proposes every decision and is believed only where it is clearly right; the
rest, less than one in 10^9, is decided by `exact`. So the law of the result is the exact
one for every source of independent uniform bits, and the same bits give the same result.

The time of a call depends on the rejected candidates and on nothing of the result.

Source: Canonne, Kamath and Steinke 2020 (arXiv 2004.00010), Algorithms 1 to 3, with two
changes that leave the law as it is. The scale t of the Laplace proposal is a power of two
near s, where the paper takes floor(s) + 1: its acceptance is right for every t. Bernoulli
trials compare a uniform number with e^-gamma, where Algorithm 1 draws a series.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from protocols.dp.exact import WORD_BITS, Random, Uniform, Words, exponential_bracket, random_words
from protocols.errors import UnsupportedParameterError

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

MAX_SIGMA_SQUARED = 2**90
MIN_SIGMA_SQUARED = Fraction(1, 16)

# Relative distance from a threshold within which a float decides nothing. The error of
# gamma is below 2e-12 where e^-gamma exceeds 2^-64, that of exp a few units in 2^53.
_DOUBT = 2.0**-36
_TWO_64 = 2.0**WORD_BITS
# Candidates drawn at once: enough to amortise numpy's calls, few enough for the cache.
_MAX_BATCH = 1 << 16
# floor(e^-v 2^64) for v = 44 .. 1, ascending: e^-45 is below one unit.
_POWERS = np.array(
    [exponential_bracket(Fraction(v), 2 * WORD_BITS)[0] >> WORD_BITS for v in range(44, 0, -1)],
    dtype=np.uint64,
)


def sample_discrete_gaussian(
    sigma_squared: int | Fraction, size: int, *, random: Random
) -> Integers:
    """Draw `size` independent samples of N_Z(0, `sigma_squared`).

    Shapes:
        result: (size,), int64.

    Args:
        sigma_squared: an exact number in [1/16, 2^90]; the variance is this for 1 and more.
        size: at least 0.
        random: returns that many uniform bytes; the only source of randomness.

    Privacy:
        Added to an integer vector of L2 sensitivity D it is 1/2 (D / sigma)^2 zCDP, as the
        Gaussian is (Theorem 4); see `lattice` for its price as an exact Gaussian.

    Source:
        Canonne, Kamath and Steinke 2020, Algorithm 3.
    """
    variance = _checked(sigma_squared)
    scale_bits = max(0, round(math.log2(variance) / 2))
    found: list[Integers] = []
    missing = size
    while missing > 0:
        batch = min(_MAX_BATCH, missing * 5 // 2 + 64)
        accepted = _accept(_propose(scale_bits, batch, random), variance, scale_bits, random)
        # Candidates are independent, so the first ones serve as well as any.
        found.append(accepted[:missing])
        missing -= len(found[-1])
    return np.concatenate([np.empty(0, dtype=np.int64), *found])


def _checked(sigma_squared: int | Fraction) -> Fraction:
    if isinstance(sigma_squared, bool) or not isinstance(sigma_squared, int | Fraction):
        raise UnsupportedParameterError("sigma_squared: not exact; give an int or a Fraction")
    if not MIN_SIGMA_SQUARED <= sigma_squared <= MAX_SIGMA_SQUARED:
        raise UnsupportedParameterError("sigma_squared: not in [1/16, 2^90]; rescale the vector")
    return Fraction(sigma_squared)


def _propose(scale_bits: int, count: int, random: Random) -> Integers:
    """Draw up to `count` samples with probability proportional to e^(-|x| / 2^scale_bits).

    Source:
        Canonne, Kamath and Steinke 2020, Algorithm 2 with s = 1.
    """
    # (1) The remainder U of |x|, uniform below t, and the sign, from one word.
    words = random_words(count, random)
    remainder = (words & np.uint64((1 << scale_bits) - 1)).astype(np.int64)
    negative = (words >> np.uint64(WORD_BITS - 1)).astype(np.bool_)
    # (2) Keep U with probability e^(-U / t).
    gamma = remainder.astype(np.float64) * 2.0**-scale_bits

    def exact_gamma(index: int) -> Fraction:
        return Fraction(int(remainder[index]), 1 << scale_bits)

    kept = _flip(gamma, exact_gamma, random)
    remainder, negative = remainder[kept], negative[kept]
    # (3) The quotient V of |x|; (4) zero has one sign only, lest it be drawn twice as often.
    magnitude = remainder + (_geometric(len(remainder), random) << scale_bits)
    kept = ~(negative & (magnitude == 0))
    signed: Integers = np.where(negative, -magnitude, magnitude)[kept]
    return signed


def _accept(candidates: Integers, variance: Fraction, scale_bits: int, random: Random) -> Integers:
    """Turn Laplace candidates into Gaussian ones by rejection (Algorithm 3, steps 5 to 7)."""
    centre = variance / (1 << scale_bits)
    gamma = (np.abs(candidates) - float(centre)) ** 2 * (0.5 / float(variance))

    def exact_gamma(index: int) -> Fraction:
        return (abs(int(candidates[index])) - centre) ** 2 / (2 * variance)

    return candidates[_flip(gamma, exact_gamma, random)]


def _flip(gamma: Floats, exact_gamma: Callable[[int], Fraction], random: Random) -> Flags:
    """Flip one coin of probability e^-gamma each; `exact_gamma` settles what floats cannot."""
    words = random_words(len(gamma), random)
    threshold = np.exp(-gamma) * _TWO_64
    distance = threshold - words
    heads = distance > 0
    # A word stands for an interval one unit wide, and a small one is converted exactly.
    for index in np.flatnonzero(np.abs(distance) <= threshold * _DOUBT + 2.0):
        coin = Uniform(int(words[index]), random)
        heads[index] = coin.is_below_exponential(exact_gamma(int(index)))
    return heads


def _geometric(count: int, random: Random) -> Integers:
    """Draw V with P(V >= v) = e^-v: as often as a coin of probability 1/e falls heads first."""
    words = random_words(count, random)
    # V counts the v with u < e^-v. A word equal to floor(e^-v 2^64) leaves u undecided.
    above = np.searchsorted(_POWERS, words, side="right")
    quotient = (len(_POWERS) - above).astype(np.int64)
    for index in np.flatnonzero(_is_power(words, above)):
        quotient[index] = _geometric_exact(int(words[index]), random)
    return quotient


def _is_power(words: Words, above: npt.NDArray[np.intp]) -> Flags:
    # A word below every entry may lie under e^-45, e^-46, ...: undecided as well.
    undecided: Flags = (above == 0) | (_POWERS[above - 1] == words)
    return undecided


def _geometric_exact(word: int, random: Random) -> int:
    number = Uniform(word, random)
    quotient = 0
    while number.is_below_exponential(Fraction(quotient + 1)):
        quotient += 1
    return quotient
