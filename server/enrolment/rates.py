"""How often strangers, and each of them, may ask: buckets that fill with time.

A code cannot be guessed; what is kept down here is the work that anybody could give the hub
before it knows who asks.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

MOST_CALLERS = 4096


@dataclass(frozen=True, slots=True)
class Rate:
    """So many at once, and so many a minute for good."""

    burst: int
    per_minute: float


class Rates:
    """Buckets by caller, and one for all; for any number of threads.

    Callers beyond `MOST_CALLERS` push out those that were idle longest, who then begin with a
    full bucket; the bucket of all stands against that.
    """

    def __init__(self, each: Rate, all_: Rate, *, clock: Callable[[], float] = monotonic) -> None:
        self._each = each
        self._all = all_
        self._clock = clock
        self._lock = threading.Lock()
        self._total = (float(all_.burst), clock())
        self._callers: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, caller: str) -> bool:
        """Take one from both buckets; False, and nothing is taken, if one is empty."""
        now = self._clock()
        with self._lock:
            own = _filled(
                self._callers.get(caller, (float(self._each.burst), now)), self._each, now
            )
            total = _filled(self._total, self._all, now)
            allowed = own >= 1 and total >= 1
            self._callers[caller] = (own - allowed, now)
            self._callers.move_to_end(caller)
            self._total = (total - allowed, now)
            while len(self._callers) > MOST_CALLERS:
                self._callers.popitem(last=False)
            return allowed


def _filled(bucket: tuple[float, float], rate: Rate, now: float) -> float:
    level, at = bucket
    return min(float(rate.burst), level + (now - at) * rate.per_minute / 60)
