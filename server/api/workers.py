"""Small pools of threads, so that no lookup waits behind a screening batch or a table.

The event loop only reads and writes; whatever multiplies elements, or touches the disk
durably, runs here. All pools are bounded: what does not fit waits its turn in order.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from queue import SimpleQueue
from typing import Any, TypeVar

# A person at a counter asks for a handful of identifiers.
SMALL_BATCH = 64
# A lookup mostly waits, for the disk and for other holders: those of one moment share commits.
_SMALL_THREADS = 16
_LARGE_THREADS = 2
T = TypeVar("T")

_Item = tuple["asyncio.Future[Any]", Context, Callable[[], Any]]


class _Pool:
    """Threads that work for event loops; half the cost of an executor of the standard library.

    There a piece of work has two futures, each with locks that its thread and the loop fight
    for. Here the thread hands the outcome to the loop, and the loop alone touches the future.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._waiting: SimpleQueue[_Item | None] = SimpleQueue()
        self._is_closed = False
        self._threads = [
            threading.Thread(target=self._serve, name=f"{name}-{number}", daemon=True)
            for number in range(threads)
        ]
        self._lock = threading.Lock()
        self._begun = False

    async def run(self, work: Callable[[], T]) -> T:
        """Run work in a thread, in the caller's context, and return its result."""
        self._begin()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.put((future, copy_context(), work))
        return await future

    def close(self) -> None:
        """Wait for the work at hand and end the threads; what waits is not begun."""
        with self._lock:
            self._is_closed = True
            begun, self._begun = self._begun, False
        if begun:
            for _ in self._threads:
                self._waiting.put(None)
            for thread in self._threads:
                thread.join()

    def _begin(self) -> None:
        with self._lock:
            if self._is_closed:
                raise RuntimeError("workers: closed")
            if not self._begun:
                self._begun = True
                for thread in self._threads:
                    thread.start()

    def _serve(self) -> None:
        while (item := self._waiting.get()) is not None:
            future, context, work = item
            del item
            if self._is_closed:
                with suppress(RuntimeError):
                    future.get_loop().call_soon_threadsafe(future.cancel)
            elif not future.cancelled():  # else its caller has gone before it was begun
                _settle(future, context, work)
            del future, context, work


def _settle(future: asyncio.Future[Any], context: Context, work: Callable[[], Any]) -> None:
    """Do one piece of work and hand its outcome to the loop that waits for it."""
    try:
        found = context.run(work)
    except BaseException as error:  # noqa: BLE001  # whatever it is, it is the caller's
        tell, outcome = future.set_exception, error
    else:
        tell, outcome = future.set_result, found
    # A loop that has ended waits for nothing any more.
    with suppress(RuntimeError):
        future.get_loop().call_soon_threadsafe(_tell, future, tell, outcome)


def _tell(future: asyncio.Future[Any], tell: Callable[[Any], None], outcome: Any) -> None:
    if not future.done():  # else its caller was cancelled
        tell(outcome)


class Workers:
    """Threads for single lookups, for large batches, and one for publishing tables."""

    def __init__(self) -> None:
        self._small = _Pool(_SMALL_THREADS, "lookup")
        self._large = _Pool(_LARGE_THREADS, "batch")
        # One table at a time bounds the memory that merging takes.
        self._tables = _Pool(1, "publish")

    async def evaluate(self, count: int, work: Callable[[], T]) -> T:
        """Run the evaluation of `count` elements."""
        pool = self._small if count <= SMALL_BATCH else self._large
        return await pool.run(work)

    async def publish(self, work: Callable[[], T]) -> T:
        """Run the publication of a table."""
        return await self._tables.run(work)

    def close(self) -> None:
        """Wait for the work at hand and end the threads."""
        for pool in (self._small, self._large, self._tables):
            pool.close()
