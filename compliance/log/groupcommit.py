"""Group commit: callers that come within a few milliseconds share one transaction.

The first caller to come leads: it takes what is waiting, commits it, hands the results out
and wakes the next leader. While it commits, others gather. A leader waits for more callers
only if the commit before has shown that there are more, and until as many have come as were
there then, or the window since that commit has passed. A caller who is alone never waits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from compliance.errors import ComplianceError
from compliance.log.errors import StorageError

T = TypeVar("T")
R = TypeVar("R")

WINDOW_S = 0.010
MOST = 1_000


class _Ticket(Generic[T, R]):
    """One caller's item on its way; `asleep` is held until its caller is to go on."""

    def __init__(self, item: T) -> None:
        self.item = item
        # A lock and no event: this is made for every act, and costs a fifth of it.
        self.asleep = threading.Lock()
        self.asleep.acquire()
        self.results: list[R] = []
        self.error: ComplianceError | None = None

    @property
    def is_done(self) -> bool:
        return bool(self.results) or self.error is not None

    def take(self) -> R:
        if self.error is not None:
            raise self.error
        return self.results[0]


class GroupCommit(Generic[T, R]):
    """Passes items from many threads to `commit` in batches.

    Args:
        commit: returns one result for each item, in order, or fails for all of them.
        window_s: the longest that a leader waits, from the end of the commit before.
        most: items in a batch.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[T]], list[R]],
        *,
        window_s: float = WINDOW_S,
        most: int = MOST,
    ) -> None:
        self._commit = commit
        self._window_s = window_s
        self._most = most
        self._lock = threading.Lock()
        self._waiting: list[_Ticket[T, R]] = []
        self._busy = False
        self._expected = 1
        self._ended = 0.0
        self._enough = threading.Event()

    def submit(self, item: T) -> R:
        """Return the result for `item` once its batch is committed.

        Raises:
            ComplianceError: what `commit` raised; every caller of the batch gets it.
        """
        ticket: _Ticket[T, R] = _Ticket(item)
        with self._lock:
            self._waiting.append(ticket)
            if len(self._waiting) >= self._expected:
                self._enough.set()
            leads, self._busy = not self._busy, True
        if not leads:
            ticket.asleep.acquire()
        if not ticket.is_done:
            self._lead()
        return ticket.take()

    def _lead(self) -> None:
        batch = self._gather()
        results: list[R] = []
        error: ComplianceError | None = None
        try:
            results = self._commit([ticket.item for ticket in batch])
        except ComplianceError as found:
            error = found
        finally:
            # Also on the way out of an interrupt: nobody may be left waiting, or be told
            # that an entry is there of which nobody knows.
            if len(results) != len(batch):
                error = error or StorageError("the commit was interrupted; its outcome is open")
            self._hand_out(batch, results, error)

    def _gather(self) -> list[_Ticket[T, R]]:
        left_s = self._ended + self._window_s - time.monotonic()
        if left_s > 0:
            self._enough.wait(left_s)
        with self._lock:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            return batch

    def _hand_out(
        self, batch: list[_Ticket[T, R]], results: list[R], error: ComplianceError | None
    ) -> None:
        for number, ticket in enumerate(batch):
            ticket.error = error
            ticket.results = [] if error else [results[number]]
        with self._lock:
            self._expected = len(batch) + len(self._waiting)
            self._ended = time.monotonic()
            self._enough.clear()
            self._busy = bool(self._waiting)
            following = self._waiting[:1]
        # Each is woken once: as the next leader, or with the result that another has got for it.
        for ticket in (*following, *batch[1:]):
            ticket.asleep.release()
