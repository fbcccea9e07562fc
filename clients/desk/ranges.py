"""The gateway's watch over number ranges, before anything is blinded.

Whoever serves customers asks for numbers that are spread over the space of numbers; whoever
tries numbers out asks for neighbours. After blinding nobody can tell, so it is looked at
here. It does not stop an operator who changes the software: quotas, the holders' books and
openings do that. It stops misuse of an honest desk, and mistakes.

The statistic is a scan for clusters. Of n distinct numbers in a space of N, sorted, take
every run of k neighbours (k = 20 and k = 100) and its span s, the difference of its ends.
Customers of one organisation are denser in some ranges than in others, since numbers are
given out county by county and block by block: `clumping` says how many times as dense as an
even spread a range may innocently be. Then a run is unlikely if

    n x P(Poisson(clumping x n / N x s) >= k - 1)  <  10^-9

The local rate is capped at 0.2, so that gapless runs are found in any set, however large;
a telecom that screens whole number blocks of its own will alarm, and has it approved.

Thresholds: clumping 50 for person numbers (5.2 x 10^8 exist, 2.3 x 10^7 are in use, a factor
of 22, twice as dense in a home county), 10 for mobile and 1000 for other phone numbers,
10^11 for bank accounts, whose space of 16 digits is almost empty and whose branches number
their accounts in a row. LINE names, e-mail and opaque numbers have no neighbours.

Source:
    Glaz, Naus and Wallenstein 2001, Scan Statistics, the union bound over spacings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocols.identifiers import DOMAIN

RUNS = (20, 100)
LIMIT = 1e-9
MAX_RATE = 0.2
_TYPE_AT = len(DOMAIN)
_VALUE_AT = _TYPE_AT + 3
_SERIAL = 10**7
_GROUP = 10**9  # keeps numbers of two letters or sexes from being neighbours
_MOBILE = b"+8869"
_MOBILE_SIZE = 13


@dataclass(frozen=True, slots=True)
class Space:
    """A kind of numbers: how many there are, and how unevenly customers lie among them."""

    name: str
    size: float
    clumping: float


PERSONS = Space("national or resident numbers", 5.2e8, 50)
MOBILES = Space("mobile numbers", 1e8, 10)
PHONES = Space("phone numbers", 1e9, 1000)
ACCOUNTS = Space("bank accounts", 1e16, 1e11)


@dataclass(frozen=True, slots=True)
class DenseRange:
    """A cluster that customers do not form: how many numbers within which span."""

    space: str
    count: int
    span: int
    asked: int

    @property
    def text(self) -> str:
        """Say it for people, without a number of a person."""
        return (
            f"{self.count} of {self.asked} {self.space} lie within {self.span} next to each other; "
            "customers are spread wider"
        )


def find_dense(canonical: Sequence[bytes]) -> DenseRange | None:
    """Return the most unlikely cluster among identifiers, if one is too unlikely."""
    worst: tuple[float, DenseRange] | None = None
    for space, numbers in _by_space(canonical):
        found = _scan(np.unique(np.array(numbers, np.uint64)), space)
        if found is not None and (worst is None or found[0] < worst[0]):
            worst = found
    return None if worst is None else worst[1]


def _by_space(canonical: Sequence[bytes]) -> list[tuple[Space, list[int]]]:
    persons: list[int] = []
    mobiles: list[int] = []
    phones: list[int] = []
    accounts: list[int] = []
    for item in canonical:
        value = item[_VALUE_AT:]
        match item[_TYPE_AT]:
            case 1 | 2:
                # The last digit is the check digit: it follows from the others.
                persons.append((value[0] * 256 + value[1]) * _GROUP + int(value[2:9]))
            case 3 if value.startswith(_MOBILE) and len(value) == _MOBILE_SIZE:
                mobiles.append(int(value[len(_MOBILE) :]))
            case 3:
                phones.append(int(value[1:]))
            case 4:
                accounts.append(int(value))
            case _:
                pass
    found = [(PERSONS, persons), (MOBILES, mobiles), (PHONES, phones), (ACCOUNTS, accounts)]
    return [(space, numbers) for space, numbers in found if numbers]


def _scan(numbers: NDArray[np.uint64], space: Space) -> tuple[float, DenseRange] | None:
    asked = len(numbers)
    if asked < RUNS[0]:
        return None
    # Loaded where it is needed: one customer at a counter does not wait for it.
    from scipy.special import gammainc  # noqa: PLC0415

    rate = min(space.clumping * asked / space.size, MAX_RATE)
    worst: tuple[float, DenseRange] | None = None
    for run in RUNS:
        if asked < run:
            continue
        span = int((numbers[run - 1 :] - numbers[: asked - run + 1]).min())
        # P(Poisson(m) >= j) is the regularised lower incomplete gamma function P(j, m).
        bound = asked * float(gammainc(run - 1, rate * span))
        if bound < LIMIT and (worst is None or bound < worst[0]):
            worst = bound, DenseRange(space.name, run, span, asked)
    return worst
