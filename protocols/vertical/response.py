"""The response s(z): a polynomial standing in for the sigmoid on a public bound.

Under secret sharing only additions and multiplications are cheap. `linear` is the tangent
of the sigmoid at a base rate, which needs none on shared values and was measured to lose
nothing at small epsilon; `fitted` is an odd polynomial, close to the sigmoid on |z| <= bound.
Outside its range a polynomial runs away, so every owner clips its own partial logit to
its part of the bound. What differential
privacy needs is not closeness but the largest residual |s(z) - y|, computed here exactly
for the integers that the protocol really uses.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from protocols.errors import UnsupportedParameterError
from protocols.program import Program
from protocols.vertical.settings import MAX_BOUND, MAX_DEGREE
from protocols.vertical.shares import Shared, Trio

LOGIT_BITS = 12
COEFFICIENT_BITS = 16
# Finer would leave no room for the noise of small epsilon: its sampler ends at 2^45.
RESIDUAL_BITS = 20
MIN_RATE = 0.001
# Points of the least-squares fit on (0, bound]; the other half follows from symmetry.
FIT_POINTS = 1000
# Shared words are signed 64-bit; `Trio.truncate` needs |x| < 2^62.
WORD_LIMIT_BITS = 62


@dataclass(frozen=True, slots=True)
class Response:
    """Integer coefficients of s(z) at scale 2^(degree * LOGIT_BITS + COEFFICIENT_BITS).

    `coefficients[k]` multiplies the k-th power of the fixed-point logit.
    """

    low: float
    high: float
    coefficients: tuple[int, ...]

    @classmethod
    def linear(cls, *, rate: float, reach: float) -> Response:
        """Return the tangent at a base rate, kept within `reach` of it and within [0, 1].

        Args:
            rate: share of positives, in [0.001, 0.999].
            reach: largest |s(z) - rate|, greater than 0.
        """
        if not MIN_RATE <= rate <= 1 - MIN_RATE:
            raise UnsupportedParameterError(
                "base rate: must be in [0.001, 0.999]; check the labels"
            )
        if not 0 < reach <= 1:
            raise UnsupportedParameterError("reach: must be in (0, 1]; correct the plan")
        slope = rate * (1 - rate)
        scale = LOGIT_BITS + COEFFICIENT_BITS
        words = (round(rate * 2**scale), round(slope * 2**COEFFICIENT_BITS))
        return cls(-min(reach, rate) / slope, min(reach, 1 - rate) / slope, words)

    @classmethod
    def fitted(cls, *, degree: int, bound: float) -> Response:
        """Fit the sigmoid by least squares over |z| <= bound, in odd powers.

        Args:
            degree: 1 or 3.
            bound: largest |z|; more than 0 and at most 16.
        """
        if degree not in (1, MAX_DEGREE):
            raise UnsupportedParameterError("response degree: must be 1 or 3; correct the plan")
        if not 0 < bound <= MAX_BOUND:
            raise UnsupportedParameterError(
                f"logit bound: must be in (0, {MAX_BOUND}]; correct the plan"
            )
        return cls(-bound, bound, _fit(degree, bound))

    @property
    def bound(self) -> float:
        """Return the largest |z|."""
        return max(-self.low, self.high)

    @property
    def degree(self) -> int:
        """Return the highest power."""
        return len(self.coefficients) - 1

    @property
    def scale_bits(self) -> int:
        """Return the fixed-point bits of s(z) before truncation."""
        return self.degree * LOGIT_BITS + COEFFICIENT_BITS

    def real(self, logits: Tensor) -> Tensor:
        """Evaluate in float64, for scoring and for tests."""
        value = torch.zeros_like(logits, dtype=torch.float64)
        for k in reversed(range(self.degree + 1)):
            scale = 2.0 ** (self.scale_bits - k * LOGIT_BITS)
            value = value * logits + self.coefficients[k] / scale
        return value

    def residual_bound(self) -> int:
        """Return the largest |s(z) - y| in units of 2^-RESIDUAL_BITS after truncation, rounded up.

        Every reachable z is a fixed-point integer in [low, high], so the exact maximum
        lies at an end of the range or beside a real stationary point of the polynomial;
        one unit is added for the random rounding of the truncation.
        """
        bottom = math.floor(self.low * 2**LOGIT_BITS)
        top = math.ceil(self.high * 2**LOGIT_BITS)
        candidates = {bottom, top}
        slopes = [k * c for k, c in enumerate(self.coefficients)][1:]
        for root in np.roots([float(c) for c in reversed(slopes)]) if len(slopes) > 1 else []:
            if abs(root.imag) < 1e-6 * (1 + abs(root.real)) and bottom <= root.real <= top:
                centre = math.floor(root.real)
                candidates |= {max(bottom, min(top, centre + step)) for step in range(-2, 4)}
        one = 1 << self.scale_bits
        largest = 0
        for z in candidates:
            value = sum(c * z**k for k, c in enumerate(self.coefficients))
            largest = max(largest, abs(value), abs(value - one))
        if largest >= 1 << WORD_LIMIT_BITS:
            raise UnsupportedParameterError("logit bound: the polynomial leaves 62 bits; lower it")
        return math.ceil(Fraction(largest, 1 << (self.scale_bits - RESIDUAL_BITS))) + 1

    def evaluate(self, trio: Trio, logits: Shared, count: int) -> Program[Shared]:
        """Evaluate on shared fixed-point logits: one multiplication for each further power."""
        power = logits
        total = logits.scaled(self.coefficients[1])
        for coefficient in self.coefficients[2:]:
            power = yield from trio.multiply(power, logits, count)
            if coefficient:
                total = total + power.scaled(coefficient)
        return trio.constant(total, self.coefficients[0])


@lru_cache(maxsize=64)
def _fit(degree: int, bound: float) -> tuple[int, ...]:
    """Solve the least-squares problem in decimals, which round alike on every machine.

    Parties whose coefficients differed by one unit would scale the summands of one sharing
    differently, and the sum would be a random word that no residual bound covers.
    """
    with localcontext() as context:
        context.prec = 40
        points = [Decimal(bound) * j / FIT_POINTS for j in range(1, FIT_POINTS + 1)]
        target = [1 / (1 + (-z).exp()) - Decimal("0.5") for z in points]
        pairs = list(zip(points, target, strict=True))
        first, third = (sum((t * z**k for z, t in pairs), Decimal(0)) for k in (1, 3))
        square, fourth, sixth = (sum((z**k for z in points), Decimal(0)) for k in (2, 4, 6))
        slope, cubic = first / square, Decimal(0)
        if degree == MAX_DEGREE:
            determinant = square * sixth - fourth**2
            slope = (first * sixth - third * fourth) / determinant
            cubic = (third * square - first * fourth) / determinant
        real = (Decimal("0.5"), slope, Decimal(0), cubic)[: degree + 1]
        scale = degree * LOGIT_BITS + COEFFICIENT_BITS
        return tuple(round(value * 2 ** (scale - k * LOGIT_BITS)) for k, value in enumerate(real))


def noise_variance(*, noise_multiplier: float, sensitivity: int) -> int:
    """Return the integer variance of each of two noises whose sum has the wanted deviation.

    Privacy:
        The sum has variance at least (noise_multiplier * sensitivity)^2: rounded up.
    """
    wanted = Fraction(noise_multiplier) ** 2 * sensitivity**2 / 2
    return math.ceil(wanted)


Sampler = Callable[[int, int], Tensor]
"""Draw `size` discrete Gaussian integers of the given variance: (variance, size) -> int64."""
