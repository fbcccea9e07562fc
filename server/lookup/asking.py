"""The asks of other holders for one request: begun together, taken as they are answered.

Holders that are reached over standing streams are asked without a thread for each: the frame
is sent, our own evaluation goes on, and whoever asked wakes once for each answer. Holders that
can only be asked and waited for have a thread of a pool each.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

ASK_KIND = "evaluate"
_THREADS = 32


class Holders(Protocol):
    """The key holders elsewhere, as far as they can be reached."""

    def connected(self) -> frozenset[str]:
        """Return the names of those that can be asked."""

    def ask(self, holder: str, kind: str, body: bytes, timeout_s: float) -> bytes:
        """Ask one and return its answer.

        Raises:
            HolderRefusedError: it says no.
            TransportError: it could not be reached, or was silent.
        """


class Asked(Protocol):
    """One ask that is under way; for the thread that has begun it."""

    def result(self) -> bytes:
        """Return the answer, or give up waiting for it; raises as `Holders.ask`."""

    def drop(self) -> None:
        """Wait for the answer no more; not after `result`."""


@runtime_checkable
class StreamedHolders(Holders, Protocol):
    """Holders that can be asked without waiting."""

    def begin(self, holder: str, kind: str, body: bytes, settled: Callable[[], object]) -> Asked:
        """Ask one and return at once.

        Args:
            settled: called once, by any thread, when there is a reply or none will come.

        Raises:
            TransportError: it could not be reached.
        """


class Asking:
    """Opens the asks of requests; for any number of threads."""

    def __init__(self, holders: Holders) -> None:
        self.holders = holders
        self.streamed = holders if isinstance(holders, StreamedHolders) else None
        self.threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="ask")

    def open(self, body: bytes, timeout_s: float) -> Asks:
        """Return the asks of one request, none of which is made yet."""
        return Asks(self, body, timeout_s)

    def close(self) -> None:
        """Wait for the asks in flight and end the threads."""
        self.threads.shutdown(cancel_futures=True)


class Asks:
    """The asks of one request, for the thread that makes them; a context manager.

    Args:
        timeout_s: how long a holder may take.
    """

    def __init__(self, asking: Asking, body: bytes, timeout_s: float) -> None:
        self._asking = asking
        self._body = body
        self._timeout_s = timeout_s
        self._settled: SimpleQueue[str] = SimpleQueue()
        self._under_way: dict[str, tuple[float, Asked]] = {}

    def __len__(self) -> int:
        """Return how many are under way."""
        return len(self._under_way)

    def begin(self, name: str) -> None:
        """Ask a holder that was not asked before; whatever comes of it is for `take`.

        Raises:
            TransportError: it could not be reached.
        """
        settled = partial(self._settled.put, name)
        ends_at = monotonic() + self._timeout_s
        streamed = self._asking.streamed
        if streamed is None:
            asked = self._waited_for(name, settled)
        else:
            asked = streamed.begin(name, ASK_KIND, self._body, settled)
        self._under_way[name] = ends_at, asked

    def take(self) -> tuple[str, Asked]:
        """Wait for one of those under way; return it once it is answered, or its time is over."""
        while True:
            silent = min(self._under_way, key=lambda name: self._under_way[name][0])
            left_s = self._under_way[silent][0] - monotonic()
            try:
                name = self._settled.get(timeout=max(0.0, left_s))
            except Empty:
                name = silent
            # One whose time was over may be answered after all: nobody waits for that.
            if name in self._under_way:
                return name, self._under_way.pop(name)[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for _, asked in self._under_way.values():
            asked.drop()

    def _waited_for(self, name: str, settled: Callable[[], object]) -> Asked:
        ask = partial(self._asking.holders.ask, name, ASK_KIND, self._body, self._timeout_s)
        future = self._asking.threads.submit(copy_context().run, ask)
        future.add_done_callback(lambda _: settled())
        return _InThread(future)


class _InThread:
    """An ask for which a thread waits, which ends in time by itself."""

    def __init__(self, future: Future[bytes]) -> None:
        self._future = future

    def result(self) -> bytes:
        """As `Asked.result`."""
        return self._future.result()

    def drop(self) -> None:
        """As `Asked.drop`; what is begun goes on to its end."""
        self._future.cancel()
