"""What was spent, as exact counts of equal releases: nothing is rounded before it is priced.

A tally keeps, for each kind of single release, how many there were. Whether one tally lies
inside another is decided in whole numbers and fractions, so that a plan of a hundred steps
is spent to the last of them and not one further.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction

from protocols.dp.accounting import epsilon
from protocols.dp.events import Composed, DpEvent, Gaussian, SampledGaussian, Single, leaves
from protocols.dp.neighbours import Neighbours

Tally = Counter[Single]  # a release with count 1, and how often it was made


def tally(event: DpEvent) -> Tally:
    """Return the single releases of an event and their counts."""
    found: Tally = Counter()
    for leaf in leaves(event):
        match leaf:
            case Gaussian():
                found[replace(leaf, count=1)] += leaf.count
            case SampledGaussian():
                found[replace(leaf, steps=1)] += leaf.steps
    return found


def event_of(spent: Tally) -> DpEvent:
    """Return the composition of all releases of a tally."""
    events: list[Single] = []
    for leaf, count in spent.items():
        match leaf:
            case Gaussian():
                events.append(replace(leaf, count=count))
            case SampledGaussian():
                events.append(replace(leaf, steps=count))
    return Composed(tuple(events))


def price(spent: Tally, delta: float, neighbours: Neighbours) -> float:
    """Return the epsilon of a tally, never below the truth."""
    if not spent:
        return 0.0
    return epsilon(event_of(spent), delta=delta, neighbours=neighbours)


def lies_inside(part: Tally, whole: Tally) -> bool:
    """Whether `part` costs at most `whole`, whatever the delta.

    Gaussian releases are compared by mu^2, which is their exact price and adds up; steps of
    DP-SGD only with steps of the same noise and rate.
    """
    sampled = (leaf for leaf in part if isinstance(leaf, SampledGaussian))
    return _mu_squared(part) <= _mu_squared(whole) and all(
        part[leaf] <= whole[leaf] for leaf in sampled
    )


def _mu_squared(spent: Tally) -> Fraction:
    terms = (
        count / Fraction(leaf.noise_multiplier) ** 2
        for leaf, count in spent.items()
        if isinstance(leaf, Gaussian)
    )
    return sum(terms, Fraction(0))
