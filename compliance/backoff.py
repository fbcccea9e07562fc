"""How long to wait before what was away is tried again.

The wait doubles up to a bound, and half of it is chance: a hundred nodes that lost one hub in
the same second must not all come back in the same second.
"""

from __future__ import annotations

from collections.abc import Callable
from random import SystemRandom

_CHANCE = SystemRandom().random


class Backoff:
    """The waits between tries; for one thread.

    Args:
        random: a number from 0 to 1, drawn for every wait.
    """

    def __init__(
        self,
        first_s: float,
        longest_s: float,
        random: Callable[[], float] = _CHANCE,
    ) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._random = random
        self._next_s = first_s

    def wait_s(self) -> float:
        """Return the next wait: between half of what it may be by now, and all of it."""
        allowed_s = self._next_s
        self._next_s = min(2 * allowed_s, self._longest_s)
        return allowed_s * (1 + self._random()) / 2

    def reset(self) -> None:
        """Begin again with short waits, after a try that went well."""
        self._next_s = self._first_s
