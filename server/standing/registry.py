"""Which nodes have a standing stream to the hub, and asking them by name.

A node has at most one stream: a second one replaces the first, since a node that was cut off
comes back before the hub has noticed. The name is the caller's to give, who takes it from a
certificate.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from time import monotonic

from protocols.link import TransportError
from server.standing.stream import Asked, HolderRefusedError, Stream

__all__ = ["HolderRefusedError", "Standing"]


class _Noted:
    """An ask that is under way; whoever answers it was heard of."""

    def __init__(self, asked: Asked, heard: Callable[[Callable[[], bytes]], bytes]) -> None:
        self._asked = asked
        self._heard = heard

    def result(self) -> bytes:
        """As `Asked.result`."""
        return self._heard(self._asked.result)

    def drop(self) -> None:
        """As `Asked.drop`."""
        self._asked.drop()


class Standing:
    """All standing streams of the hub; every method may be called by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._streams: dict[str, Stream] = {}
        self._seen: dict[str, float] = {}
        self._closed: str | None = None

    def connected(self) -> frozenset[str]:
        """Return the names of the nodes that can be asked."""
        with self._lock:
            return frozenset(self._streams)

    def ask(self, holder: str, kind: str, body: bytes, timeout_s: float) -> bytes:
        """Ask one holder and return its answer; many asks may be in flight.

        A holder that breaks off may have done what it was asked: ask again only what it
        is safe to repeat.

        Raises:
            HolderRefusedError: the holder says no, and why.
            TransportError: it is not connected, broke off, or was silent; retryable, and
                it names the holder.
        """
        return self._heard(holder, partial(self._stream(holder).ask, kind, body, timeout_s))

    def begin(self, holder: str, kind: str, body: bytes, settled: Callable[[], object]) -> _Noted:
        """Ask one holder and return at once; see `Stream.begin`.

        Raises:
            TransportError: it is not connected, or too much waits.
        """
        asked = self._stream(holder).begin(kind, body, settled)
        return _Noted(asked, partial(self._heard, holder))

    def seen_s(self, name: str) -> float | None:
        """Return how many seconds ago a node was last heard of; None if never."""
        with self._lock:
            at = self._seen.get(name)
        return None if at is None else max(0.0, monotonic() - at)

    def join(self, name: str) -> Stream:
        """Open the stream of a node and end the one that it had.

        Raises:
            TransportError: the hub stops.
        """
        stream = Stream(name)
        with self._lock:
            if self._closed is not None:
                raise TransportError(self._closed, retryable=True)
            former = self._streams.get(name)
            self._streams[name] = stream
            self._seen[name] = monotonic()
        if former is not None:
            former.end("connected anew")
        return stream

    def leave(self, stream: Stream, reason: str) -> None:
        """End a stream; a newer one of the same node is left alone."""
        with self._lock:
            if self._streams.get(stream.name) is stream:
                del self._streams[stream.name]
                self._seen[stream.name] = monotonic()
        stream.end(reason)

    def _stream(self, holder: str) -> Stream:
        with self._lock:
            stream = self._streams.get(holder)
        if stream is None:
            raise TransportError(f"{holder}: not connected", retryable=True, party=holder)
        return stream

    def _heard(self, holder: str, asking: Callable[[], bytes]) -> bytes:
        """Return the answer; whoever answers was heard of, and whoever refuses."""
        try:
            answer = asking()
        except HolderRefusedError:
            self._note(holder)
            raise
        self._note(holder)
        return answer

    def _note(self, name: str) -> None:
        with self._lock:
            self._seen[name] = monotonic()

    def close(self, reason: str = "the hub stops") -> None:
        """End every stream and open none any more."""
        with self._lock:
            self._closed = reason
            streams = list(self._streams.values())
            self._streams.clear()
        for stream in streams:
            stream.end(reason)
