"""How soon a program of Flower's asks again: at once while a run is on, seldom when there is none.

Flower asks by polling. Every question costs this node and the hub a little; a node waits for days
for a run, and a hub has many nodes.
"""

from __future__ import annotations

import time
from collections.abc import Callable

# A phase follows the one before within moments; partners' people may take longer to decide.
LASTS_S = 120.0


class Pace:
    """Waits that are short for a while after something was done.

    Args:
        busy_s: the longest wait during that while.
        idle_s: the longest wait otherwise.
    """

    def __init__(
        self,
        busy_s: float,
        idle_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._busy_s = busy_s
        self._idle_s = idle_s
        self._clock = clock
        self._sleep = sleep
        self._quick_until = clock()

    def note(self) -> None:
        """Something is being done: what follows it is not to wait."""
        self._quick_until = self._clock() + LASTS_S

    def wait(self, seconds: float) -> None:
        """Wait as long as was asked for, or shorter."""
        longest = self._busy_s if self._clock() < self._quick_until else self._idle_s
        self._sleep(min(seconds, longest))
