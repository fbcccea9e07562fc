"""Epsilon and delta to noise: always rounded to more noise, and checked by `accounting`.

A plan first turns its (epsilon, delta) into a budget of mu^2, shares that out among its
releases, and gives every release the noise of its share. Since mu^2 adds up exactly,
nothing is lost by the sharing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from protocols.dp import accounting, gaussian
from protocols.dp.events import (
    MAX_NOISE_MULTIPLIER,
    MIN_NOISE_MULTIPLIER,
    Composed,
    DpEvent,
    Gaussian,
    SampledGaussian,
)
from protocols.dp.neighbours import Neighbours
from protocols.errors import UnsupportedParameterError

# Relative width at which a bisection stops: far below any use, far above rounding.
_TOLERANCE = 1e-12


def noise_multiplier_for(
    *,
    epsilon: float,
    delta: float,
    count: int,
    already: DpEvent | None = None,
    neighbours: Neighbours = Neighbours.ZERO_OUT_ONE_PERSON,
) -> float:
    """Return the least noise multiplier at which `count` Gaussian releases fit the budget.

    Args:
        epsilon: target, at least 0.
        delta: target, in (0, 1).
        count: releases that all get this noise.
        neighbours: the relation under which all of these are measured.
        already: what was released about the same persons before; counts against the budget.

    Raises:
        UnsupportedParameterError: no noise is enough, as when `already` has spent the budget.
    """
    return _least_noise(
        lambda noise: Gaussian(noise, count),
        epsilon=epsilon,
        delta=delta,
        already=already,
        neighbours=neighbours,
    )


def sampled_noise_multiplier_for(
    *,
    epsilon: float,
    delta: float,
    sample_rate: float,
    steps: int,
    already: DpEvent | None = None,
    neighbours: Neighbours = Neighbours.ZERO_OUT_ONE_PERSON,
) -> float:
    """Return the least noise multiplier at which DP-SGD fits the budget; see above."""
    return _least_noise(
        lambda noise: SampledGaussian(noise, sample_rate, steps),
        epsilon=epsilon,
        delta=delta,
        already=already,
        neighbours=neighbours,
    )


def mu_squared_for(*, epsilon: float, delta: float) -> float:
    """Return the budget in mu^2 that (epsilon, delta) allows, rounded down."""
    return 1 / noise_multiplier_for(epsilon=epsilon, delta=delta, count=1) ** 2 * (1 - _TOLERANCE)


def split_mu(mu_squared: float, shares: Mapping[str, float]) -> dict[str, float]:
    """Share a budget of mu^2 among releases; the parts never exceed the whole.

    Args:
        mu_squared: the whole.
        shares: parts of the whole by name, each greater than 0, for example
            histograms 0.05 and training 0.95; together at most 1.
    """
    if not _cost(MAX_NOISE_MULTIPLIER, 1) <= mu_squared < math.inf:
        raise UnsupportedParameterError(f"mu_squared: {mu_squared:g} pays for no release")
    if not all(share > 0 for share in shares.values()):
        raise UnsupportedParameterError("shares: each must be greater than 0")
    # Decimal shares such as 0.05 + 0.95 are no exact binary numbers: a sum over 1 by
    # rounding alone is 1, and the parts are rounded down by more than that.
    if not math.fsum(shares.values()) <= 1 + _TOLERANCE / 4:
        raise UnsupportedParameterError("shares: more than the whole; let them add up to 1")
    return {name: mu_squared * share * (1 - _TOLERANCE) for name, share in shares.items()}


def noise_multiplier_of(*, mu_squared: float, count: int) -> float:
    """Return the noise multiplier at which `count` releases cost at most `mu_squared`."""
    if not mu_squared > 0:
        raise UnsupportedParameterError(f"mu_squared: {mu_squared} is not greater than 0")
    noise = max(MIN_NOISE_MULTIPLIER, math.sqrt(count / mu_squared) * (1 - _TOLERANCE / 1000))
    while noise <= MAX_NOISE_MULTIPLIER and _cost(noise, count) > mu_squared:
        noise = math.nextafter(noise, math.inf)
    if noise > MAX_NOISE_MULTIPLIER:
        raise UnsupportedParameterError(
            f"mu_squared: {mu_squared:g} is too little for {count} releases; make fewer"
        )
    return noise


def _cost(noise: float, count: int) -> float:
    return gaussian.mu_squared_of([(noise, count)])


def _least_noise(
    event_at: Callable[[float], DpEvent],
    *,
    epsilon: float,
    delta: float,
    already: DpEvent | None,
    neighbours: Neighbours,
) -> float:
    accounting.check_epsilon(epsilon)
    accounting.check_delta(delta)

    def fits(noise: float) -> bool:
        total = event_at(noise) if already is None else Composed((already, event_at(noise)))
        return accounting.epsilon(total, delta=delta, neighbours=neighbours) <= epsilon

    low, high = MIN_NOISE_MULTIPLIER, MAX_NOISE_MULTIPLIER
    if not fits(high):
        raise UnsupportedParameterError(
            f"epsilon: no noise keeps {epsilon:g} at delta {delta:g}; raise it or release less"
        )
    if fits(low):
        return low
    # `fits(high)` holds at every turn, so what is returned has been checked itself.
    while high > low * (1 + _TOLERANCE):
        middle = math.sqrt(low * high)
        if fits(middle):
            high = middle
        else:
            low = middle
    return high
