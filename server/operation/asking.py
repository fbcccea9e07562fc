"""The holders elsewhere with an observer around every ask."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import copy_context

from compliance.operation.observing import UNOBSERVED, Ask, Observes
from protocols.link import TransportError
from server.lookup.asking import Asked, Holders, StreamedHolders


class ObservedHolders:
    """Holders as `server.lookup.asking.Holders` has them, observed."""

    def __init__(self, holders: Holders, observer: Observes) -> None:
        self._holders = holders
        self._observer = observer

    def connected(self) -> frozenset[str]:
        """Return the names of those that can be asked."""
        return self._holders.connected()

    def ask(self, holder: str, kind: str, body: bytes, timeout_s: float) -> bytes:
        """Ask one and return its answer; see `Holders.ask`."""
        with self._observer.during(Ask(holder, kind)):
            return self._holders.ask(holder, kind, body, timeout_s)


class ObservedStreams(ObservedHolders):
    """Holders as `server.lookup.asking.StreamedHolders` has them, observed."""

    def __init__(self, holders: StreamedHolders, observer: Observes) -> None:
        super().__init__(holders, observer)
        self._streams = holders

    def begin(self, holder: str, kind: str, body: bytes, settled: Callable[[], object]) -> Asked:
        """Ask one and return at once; see `StreamedHolders.begin`."""
        during = _During(self._observer.during(Ask(holder, kind)))
        try:
            return _Observed(self._streams.begin(holder, kind, body, settled), during, holder)
        except BaseException as error:
            during.end(error)
            raise


class _During:
    """An observer that stands around what goes on beside other work of the same thread.

    It sees a context of its own, so that this other work is no part of what it observes.
    """

    def __init__(self, work: AbstractContextManager[None]) -> None:
        self._context = copy_context()
        self._work = work
        self._context.run(work.__enter__)

    def end(self, error: BaseException | None = None) -> None:
        """End it, with the exception that ended the work."""
        trace = None if error is None else error.__traceback__
        self._context.run(self._work.__exit__, type(error) if error else None, error, trace)


class _Observed:
    """An ask that is under way, observed until it is taken."""

    def __init__(self, asked: Asked, during: _During, holder: str) -> None:
        self._asked = asked
        self._during = during
        self._holder = holder

    def result(self) -> bytes:
        """As `Asked.result`."""
        try:
            answer = self._asked.result()
        except BaseException as error:
            self._during.end(error)
            raise
        self._during.end()
        return answer

    def drop(self) -> None:
        """As `Asked.drop`."""
        self._asked.drop()
        self._during.end(
            TransportError(f"{self._holder}: not waited for", retryable=True, party=self._holder)
        )


def observed_holders(holders: Holders, observer: Observes) -> Holders:
    """Return holders with an observer around them; themselves where nothing is observed."""
    if observer is UNOBSERVED:
        return holders
    if isinstance(holders, StreamedHolders):
        return ObservedStreams(holders, observer)
    return ObservedHolders(holders, observer)
