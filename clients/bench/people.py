"""Made-up people: national numbers that are valid, all different, and nobody's in particular."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from protocols.identifiers import national_checksum

_SERIALS = 10**7
_SEXES = 2
_LETTERS = 26
_SPACE = _LETTERS * _SEXES * _SERIALS
_DIGITS = 9
_ZEROS = "0" * _DIGITS


def made_up_numbers(count: int, seed: int) -> pl.Series:
    """Return distinct national numbers in random order, spread over the whole space of them."""
    generator = np.random.default_rng(seed)
    drawn = np.unique(generator.integers(0, _SPACE, count + count // 50 + 1000))
    if len(drawn) < count:
        raise ValueError(f"people: {count} is too near to the {_SPACE} numbers that there are")
    chosen = generator.permutation(drawn)[:count]
    return pl.Series("id", _written(chosen).view("S10").ravel().astype(np.str_))


def _written(chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Write numbers out: letter, sex, seven digits, check digit.

    Shapes:
        chosen: (n,); result: (n, 10), ASCII.
    """
    letters, rest = np.divmod(chosen, _SEXES * _SERIALS)
    sexes, serials = np.divmod(rest, _SERIALS)
    digits = np.empty((len(chosen), _DIGITS), np.int64)
    digits[:, 0] = sexes + 1
    digits[:, 1:-1] = serials[:, None] // 10 ** np.arange(6, -1, -1) % 10
    # The sum is linear in the digits; with the check digit it is 0 modulo 10.
    heads = np.array([national_checksum(chr(65 + at), _ZEROS) for at in range(_LETTERS)])
    weights = [
        national_checksum("A", f"{_ZEROS[:at]}1{_ZEROS[at + 1 :]}") - heads[0]
        for at in range(_DIGITS)
    ]
    sums = heads[letters] + digits[:, :-1] @ np.array(weights[:-1])
    digits[:, -1] = -sums % 10
    return np.column_stack([letters + ord("A"), digits + ord("0")]).astype(np.uint8)
