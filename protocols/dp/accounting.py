"""Events to epsilon and delta: every number here is an upper bound.

Purely Gaussian events have their exact price, rounded up (`gaussian`). With DP-SGD among
them the price is a Renyi bound (`sampled`), some per cent above the exact one. Neither
ever says less than the truth under the relation that is named.

A `Gaussian` is priced alike under every relation, since its noise multiplier is measured
under that relation. A `SampledGaussian` is priced under zero-out and add-or-remove only:
there one person's gradient is in a step or is not. Under replace-one it is refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from protocols.dp import gaussian, sampled
from protocols.dp.events import Composed, DpEvent, Gaussian, SampledGaussian, leaves
from protocols.dp.neighbours import Neighbours
from protocols.errors import UnsupportedParameterError


def epsilon(event: DpEvent, *, delta: float, neighbours: Neighbours) -> float:
    """Return an epsilon at which `event` is (epsilon, delta)-private; never too small.

    Args:
        event: everything that was released about a person.
        delta: in (0, 1).
        neighbours: the relation under which the event's noise was measured.
    """
    check_delta(delta)
    mu_squared_part, sampled_part = _parts(event, neighbours)
    if not sampled_part:
        return gaussian.epsilon_at(mu_squared_part, delta)
    return sampled.epsilon_at(sampled_part, mu_squared_part, delta)


def delta(event: DpEvent, *, epsilon: float, neighbours: Neighbours) -> float:
    """Return a delta at which `event` is (epsilon, delta)-private; never too small.

    Args:
        event: everything that was released about a person.
        epsilon: at least 0.
        neighbours: the relation under which the event's noise was measured.
    """
    check_epsilon(epsilon)
    mu_squared_part, sampled_part = _parts(event, neighbours)
    if not sampled_part:
        return gaussian.delta_at(mu_squared_part, epsilon)
    return sampled.delta_at(sampled_part, mu_squared_part, epsilon)


def mu_squared(event: DpEvent) -> float:
    """Return mu^2 of a purely Gaussian event, rounded up: additive over releases.

    Half of it is the event's rho in zero-concentrated privacy. It is what a ledger adds up.

    Raises:
        UnsupportedParameterError: DP-SGD is among the events; it has no single mu.
    """
    single = leaves(event)
    if not all(isinstance(leaf, Gaussian) for leaf in single):
        raise UnsupportedParameterError("event: sampled steps have no mu; ask for their epsilon")
    return _gaussian_part(single)


@dataclass(frozen=True, slots=True)
class Statement:
    """What was released about one person, and under which relation its noise was measured."""

    event: DpEvent
    neighbours: Neighbours

    def epsilon(self, *, delta: float) -> float:
        """Return the price; see `accounting.epsilon`."""
        return epsilon(self.event, delta=delta, neighbours=self.neighbours)


def compose(statements: Sequence[Statement]) -> Statement:
    """Put releases about the same persons together.

    Raises:
        UnsupportedParameterError: there are none, or their relations differ.
    """
    relations = {statement.neighbours for statement in statements}
    if len(relations) != 1:
        names = ", ".join(sorted(relation.value for relation in relations)) or "none"
        raise UnsupportedParameterError(
            f"statements: neighbouring relations are {names}; only those of one relation add up"
        )
    events = tuple(statement.event for statement in statements)
    return Statement(Composed(events), relations.pop())


def check_delta(value: float) -> None:
    """Refuse a delta outside of (0, 1), NaN included."""
    if not 0 < value < 1:
        raise UnsupportedParameterError(f"delta: {value} is not in (0, 1)")


def check_epsilon(value: float) -> None:
    """Refuse a negative or infinite epsilon, NaN included."""
    if not 0 <= value < math.inf:
        raise UnsupportedParameterError(f"epsilon: {value} is not a number of at least 0")


def _parts(event: DpEvent, neighbours: Neighbours) -> tuple[float, list[SampledGaussian]]:
    single = leaves(event)
    found = [leaf for leaf in single if isinstance(leaf, SampledGaussian)]
    if found and neighbours is Neighbours.REPLACE_ONE:
        raise UnsupportedParameterError(
            "event: sampled steps are not priced under replace_one; use zero_out_one_person"
        )
    return _gaussian_part(single), found


def _gaussian_part(single: Sequence[DpEvent]) -> float:
    return gaussian.mu_squared_of(
        (leaf.noise_multiplier, leaf.count) for leaf in single if isinstance(leaf, Gaussian)
    )
