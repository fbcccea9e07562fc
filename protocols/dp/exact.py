"""Coin flips of probability e^-gamma, decided without rounding.

A uniform number of [0, 1) is drawn bit by bit, only as far as needed: its first 64 bits
decide nearly always, and otherwise more are drawn and e^-gamma is bracketed in integer
arithmetic until the two are apart. The outcome is then the one that real arithmetic gives.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from protocols.errors import UnsupportedParameterError

Random = Callable[[int], bytes]
Words = npt.NDArray[np.uint64]

WORD_BITS = 64
# Integer arithmetic carries this many bits more than asked, and is trusted to half of them.
_GUARD_BITS = 64


def random_words(count: int, random: Random) -> Words:
    """Draw `count` words of 64 uniform bits."""
    size = count * WORD_BITS // 8
    data = random(size)
    if len(data) != size:
        raise UnsupportedParameterError(f"random: {len(data)} bytes, asked for {size}")
    return np.frombuffer(data, dtype="<u8").astype(np.uint64, copy=False)


def exponential_bracket(gamma: Fraction, bits: int) -> tuple[int, int]:
    """Return integers low <= e^-gamma 2^bits <= high that are at most 2 apart.

    Args:
        gamma: at least 0.
        bits: at least 64.
    """
    precision = bits + _GUARD_BITS
    whole = int(gamma)
    if whole > bits + 1:
        return 0, 1  # e^-gamma < 2^-gamma < 2^-bits
    # (1) e^-fraction by its alternating series in fixed point: each term is one unit short
    #     at most, and the terms vanish long before there are 2^16 of them.
    fraction = gamma - whole
    term = total = 1 << precision
    index = 0
    while term:
        index += 1
        term = term * fraction.numerator // (fraction.denominator * index)
        total += -term if index % 2 else term
    # (2) Times e^-whole, one factor e^-1 after another: each product is again a few units off.
    if whole:
        inverse_low, inverse_high = exponential_bracket_of_one(precision)
        inverse = (inverse_low + inverse_high) // 2
        for _ in range(whole):
            total = total * inverse >> precision
    slack = 1 << (_GUARD_BITS // 2)
    return max(0, (total - slack) >> _GUARD_BITS), ((total + slack) >> _GUARD_BITS) + 1


def exponential_bracket_of_one(bits: int) -> tuple[int, int]:
    """Return integers around e^-1 2^bits, by its alternating series."""
    precision = bits + _GUARD_BITS
    term = total = 1 << precision
    index = 0
    while term:
        index += 1
        term //= index
        total += -term if index % 2 else term
    slack = 1 << (_GUARD_BITS // 2)
    return (total - slack) >> _GUARD_BITS, ((total + slack) >> _GUARD_BITS) + 1


class Uniform:
    """One uniform number of [0, 1), of which only the leading bits are drawn yet."""

    def __init__(self, first_word: int, random: Random) -> None:
        self._value = first_word
        self._bits = WORD_BITS
        self._random = random

    def is_below_exponential(self, gamma: Fraction) -> bool:
        """Decide u < e^-gamma exactly; several questions see the same number."""
        if gamma == 0:
            return True
        while True:
            low, high = exponential_bracket(gamma, self._bits)
            # The number lies in [value, value + 1) / 2^bits.
            if self._value + 1 <= low:
                return True
            if self._value >= high:
                return False
            more = int(random_words(1, self._random)[0])
            self._value = self._value << WORD_BITS | more
            self._bits += WORD_BITS
