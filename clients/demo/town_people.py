"""SIMULATED people: who they are, what moves them, and who becomes a victim.

No row describes anybody. Six hidden traits, standard normal and partly tied to age, stand
behind all tables; the chance of a confirmed case follows from four of them, with products
that no single table shows. This is the town's known truth.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clients.demo.town_draw import Draw, Values
from protocols.identifiers import national_checksum

Mask = NDArray[np.bool_]

_REGIONS = "ABCDEFGHIJKMNOPQTUVXWZ"  # letters still given out, by place of first registration
_INTERCEPT = -4.45


@dataclass(frozen=True, slots=True)
class People:
    """Everyone in the town.

    Shapes:
        every array: (people,); `letters` and `identifiers` have one text for each.
    """

    identifiers: list[str] = field(repr=False)
    letters: NDArray[np.str_]
    is_woman: Mask
    age: Values
    wealth: Values
    digital: Values
    social: Values
    targeted: Values  # how much fraudsters are after the person
    yielding: Values  # how readily the person follows a stranger's instructions
    strained: Values  # lack of money
    chance: Values  # of a confirmed case, the most that anyone could know
    is_victim: Mask
    is_customer: Mask
    is_subscriber: Mask
    is_reported: Mask

    @property
    def count(self) -> int:
        """How many people live in the town."""
        return len(self.identifiers)


def make_people(random: np.random.Generator, count: int) -> People:
    """Draw the people of a town."""
    age = np.clip(random.normal(49, 17, count), 20, 95).round()
    years = (age - 49) / 17
    wealth = 0.35 * years + 0.94 * random.standard_normal(count)
    digital = -0.55 * years + 0.84 * random.standard_normal(count)
    social = random.standard_normal(count)
    targeted = 0.15 * years + 0.99 * random.standard_normal(count)
    yielding = 0.40 * years - 0.25 * social + 0.88 * random.standard_normal(count)
    strained = -0.30 * wealth + 0.95 * random.standard_normal(count)
    chance = _chance(targeted, yielding, strained, wealth)
    draw = Draw(random, count)
    is_woman = draw.happens(0.04)
    letters = random.choice(list(_REGIONS), count)
    customer = draw.happens(0.45 + 0.35 * wealth)
    subscriber = draw.happens(1.20 + 0.20 * digital)
    reported = draw.happens(-3.9 + 0.9 * targeted + 0.4 * yielding)
    return People(
        identifiers=national_ids(random, letters, is_woman),
        letters=letters,
        is_woman=is_woman,
        age=age,
        wealth=wealth,
        digital=digital,
        social=social,
        targeted=targeted,
        yielding=yielding,
        strained=strained,
        chance=chance,
        is_victim=random.random(count) < chance,
        is_customer=customer,
        is_subscriber=subscriber,
        is_reported=reported,
    )


def national_ids(
    random: np.random.Generator, letters: NDArray[np.str_], is_woman: Mask
) -> list[str]:
    """Return different national numbers with a valid check digit.

    They are drawn at random: that one is also a real person's cannot be excluded, and
    means nothing.
    """
    serials = random.choice(10**7, size=len(letters), replace=False)
    numbers: list[str] = []
    for letter, woman, serial in zip(letters, is_woman, serials, strict=True):
        stem = f"{2 if woman else 1}{serial:07d}"
        numbers.append(f"{letter}{stem}{-national_checksum(letter, stem + '0') % 10}")
    return numbers


def _chance(targeted: Values, yielding: Values, strained: Values, wealth: Values) -> Values:
    # Contact alone does little, and readiness alone does nothing: it takes both.
    both = np.maximum(targeted, 0) * np.maximum(yielding + 0.5, 0)
    money = np.maximum(targeted, 0) * np.maximum(wealth, 0)
    score = _INTERCEPT + 1.75 * targeted + 0.95 * yielding + 0.35 * strained
    return sigmoid(score + 0.75 * both + 0.35 * money)


def sigmoid(score: Values) -> Values:
    """Return the chance that belongs to a log-odds score."""
    chance: Values = 1 / (1 + np.exp(-score))
    return chance
