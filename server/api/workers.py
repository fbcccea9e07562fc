"""Small pools of threads, so that no lookup waits behind a screening batch or a table.

The event loop only reads and writes; whatever multiplies elements, or touches the disk
durably, runs here. All pools are bounded: what does not fit waits its turn in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

# A person at a counter asks for a handful of identifiers.
SMALL_BATCH = 64
_SMALL_THREADS = 8
_LARGE_THREADS = 2
T = TypeVar("T")


class Workers:
    """Threads for single lookups, for large batches, and one for publishing tables."""

    def __init__(self) -> None:
        self._small = ThreadPoolExecutor(_SMALL_THREADS, thread_name_prefix="lookup")
        self._large = ThreadPoolExecutor(_LARGE_THREADS, thread_name_prefix="batch")
        # One table at a time bounds the memory that merging takes.
        self._tables = ThreadPoolExecutor(1, thread_name_prefix="publish")

    async def evaluate(self, count: int, work: Callable[[], T]) -> T:
        """Run the evaluation of `count` elements."""
        pool = self._small if count <= SMALL_BATCH else self._large
        return await asyncio.get_running_loop().run_in_executor(pool, copy_context().run, work)

    async def publish(self, work: Callable[[], T]) -> T:
        """Run the publication of a table."""
        return await asyncio.get_running_loop().run_in_executor(self._tables, work)

    def close(self) -> None:
        """Wait for the work at hand and end the threads."""
        for pool in (self._small, self._large, self._tables):
            pool.shutdown(cancel_futures=True)
