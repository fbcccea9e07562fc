"""One node's standing stream: what waits to be sent, and who waits for which answer.

Concurrency: any thread may ask; one thread sends what `next_frame` gives, one accepts what
arrives. One lock, held for dictionary work only. Once a stream has ended it stays ended, and
every ask of it, waiting or new, fails with the reason of the end: whether the node has done
what it was asked is then unknown, so that an ask must be safe to repeat.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from protocols.errors import MalformedMessageError
from protocols.link import TransportError
from protocols.standing import Answer, Ask, Greeting, Refusal, decode_frame

MAX_WAITING = 256


class HolderRefusedError(Exception):
    """A holder was reached and says no.

    Args:
        holder: who refuses.
        code: stable name of the reason, as the holder gives it, such as `quota_exhausted`.
        text: the holder's own sentence.
    """

    def __init__(self, holder: str, code: str, text: str) -> None:
        super().__init__(f"{holder} refuses: {text} ({code})")
        self.holder = holder
        self.code = code
        self.text = text


@dataclass(slots=True)
class _Waiting:
    """One ask; `settled` is called once, when there is a reply or none will come."""

    settled: Callable[[], object]
    reply: Answer | Refusal | None = None


class Asked:
    """One ask that is under way; for the thread that has begun it."""

    def __init__(self, stream: Stream, number: int) -> None:
        self._stream = stream
        self._number = number

    def result(self) -> bytes:
        """Return the answer, or give up waiting for it.

        Raises:
            HolderRefusedError: the node says no, and why.
            TransportError: there is no answer yet, or the stream has ended.
        """
        return self._stream.take(self._number, "no answer in time")

    def drop(self) -> None:
        """Wait for the answer no more; not after `result`."""
        self._stream.forget(self._number)


class Stream:
    """A node's open stream, from its greeting to its end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._departed = threading.Condition(self._lock)
        self._outgoing: deque[bytes] = deque([Greeting(name).encode()])
        self._waiting: dict[int, _Waiting] = {}
        self._next = 0
        self._ended: str | None = None

    def ask(self, kind: str, body: bytes, timeout_s: float) -> bytes:
        """Ask and wait for the answer.

        Raises:
            HolderRefusedError: the node says no, and why.
            TransportError: no answer in time, the stream has ended, or too much waits.
        """
        woken = threading.Lock()
        woken.acquire()
        number = self._enqueue(kind, body, woken.release)
        try:
            woken.acquire(timeout=max(0.0, timeout_s))
        except BaseException:
            self.forget(number)
            raise
        return self.take(number, f"no answer within {timeout_s:g} s")

    def begin(self, kind: str, body: bytes, settled: Callable[[], object]) -> Asked:
        """Ask, and return at once.

        Args:
            settled: called once, by any thread, when there is a reply or none will come; it
                must not wait, and must not come back to this stream.

        Raises:
            TransportError: the stream has ended, or too much waits.
        """
        return Asked(self, self._enqueue(kind, body, settled))

    def take(self, number: int, silence: str) -> bytes:
        """Return the answer to an ask, which is forgotten; raises as `ask`.

        Args:
            silence: what is said if there is no reply yet.
        """
        with self._lock:
            reply, ended = self._waiting.pop(number).reply, self._ended
        if reply is None:
            raise self._failure(ended or silence)
        if isinstance(reply, Refusal):
            raise HolderRefusedError(self.name, reply.code, reply.text)
        return reply.body

    def forget(self, number: int) -> None:
        """Let an answer that comes be dropped."""
        with self._lock:
            self._waiting.pop(number, None)

    def accept(self, data: bytes) -> None:
        """File one frame of the node; a late answer, that nobody waits for, is dropped.

        Raises:
            MalformedMessageError: not a frame that a node may send.
        """
        frame = decode_frame(data)
        if not isinstance(frame, Answer | Refusal):
            raise MalformedMessageError("standing frame: not for a node to send")
        with self._lock:
            if frame.number >= self._next:
                raise MalformedMessageError("standing frame: answers what was never asked")
            waiting = self._waiting.get(frame.number)
            if waiting is not None and waiting.reply is None and self._ended is None:
                waiting.reply = frame
                waiting.settled()

    def next_frame(self) -> bytes | None:
        """Wait for the next frame to send; None once the stream has ended."""
        with self._lock:
            self._departed.wait_for(lambda: self._outgoing or self._ended is not None)
            if self._ended is not None:
                return None
            return self._outgoing.popleft()

    def end(self, reason: str) -> None:
        """End the stream and fail what waits; the first reason stands."""
        with self._lock:
            if self._ended is None:
                self._ended = reason
                self._outgoing.clear()
                for waiting in self._waiting.values():
                    if waiting.reply is None:
                        waiting.settled()
            self._departed.notify_all()

    def _enqueue(self, kind: str, body: bytes, settled: Callable[[], object]) -> int:
        with self._lock:
            self._check_open()
            if len(self._waiting) >= MAX_WAITING:
                raise self._failure(f"{MAX_WAITING} questions wait already")
            number = self._next
            frame = Ask(number, kind, body).encode()
            self._next += 1
            self._waiting[number] = _Waiting(settled)
            self._outgoing.append(frame)
            self._departed.notify()
        return number

    def _check_open(self) -> None:
        if self._ended is not None:
            raise self._failure(self._ended)

    def _failure(self, reason: str) -> TransportError:
        return TransportError(f"{self.name}: {reason}", retryable=True, party=self.name)
