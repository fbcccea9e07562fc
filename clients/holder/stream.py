"""The node's end of a standing link: one stream to the hub, over which the hub asks.

One object is one stream; dialling again when it has ended is the caller's. Questions are
answered in threads of a small pool, so that a long key set-up keeps no evaluation waiting.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from queue import SimpleQueue

import grpc

from clients.transport import Credentials, explain_status, open_channel
from clients.versions import METADATA, check_call
from protocols.errors import MalformedMessageError
from protocols.link import TransportError
from protocols.standing import (
    STAND_METHOD,
    Answer,
    Ask,
    Greeting,
    Refusal,
    decode_frame,
    readable,
)

Answerer = Callable[[str, bytes], bytes]
"""Answers one question, of a kind and with a body, or raises."""


class RefusedError(Exception):
    """A question is refused.

    Args:
        code: stable name that the hub is told, with the text.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class StandingLink:
    """One stream to the hub, from dialling to its end.

    Args:
        name: this node's own; a hub that greets us by another is not answered.
        on_greeted: called once the hub has let us in.
    """

    def __init__(
        self,
        address: str,
        credentials: Credentials,
        *,
        name: str,
        answer: Answerer,
        pool: Executor,
        on_greeted: Callable[[], None],
    ) -> None:
        self._address = address
        self._name = name
        self._answer = answer
        self._pool = pool
        self._on_greeted = on_greeted
        self._greeted = False
        self._closing = threading.Event()
        self._outgoing: SimpleQueue[bytes | None] = SimpleQueue()
        self._channel = open_channel(address, credentials)
        self._call = self._channel.stream_stream(STAND_METHOD)(self._frames(), metadata=METADATA)

    def serve(self) -> None:
        """Answer until the stream ends; returns only after `close`.

        Raises:
            TransportError: the hub is not reachable, does not let us in, or is gone.
            MalformedMessageError: the hub sent what it must not send.
            IncompatibleVersionError: it is too old or too new; says which side to update.
        """
        try:
            for data in self._call:
                self._accept(data)
        except grpc.RpcError as error:
            if self._closing.is_set():
                return
            reason, retryable = explain_status(error, self._address)
            raise TransportError(reason, retryable=retryable) from error
        finally:
            self.close()
        # So it does when it stops, and when this node has connected a second time.
        raise TransportError(f"the hub at {self._address} ended the stream", retryable=True)

    def close(self) -> None:
        """End the stream; may be called by any thread, and more than once."""
        self._closing.set()
        self._outgoing.put(None)
        self._call.cancel()
        self._channel.close()

    def _accept(self, data: bytes) -> None:
        match decode_frame(data):
            case Greeting(name) if not self._greeted and name == self._name:
                check_call(self._call)
                self._greeted = True
                self._on_greeted()
            case Ask() as ask if self._greeted:
                self._pool.submit(self._work, ask)
            case _:
                raise MalformedMessageError("standing frame: out of place, or not for this node")

    def _work(self, ask: Ask) -> None:
        try:
            reply: Answer | Refusal = Answer(ask.number, self._answer(ask.kind, ask.body))
        except RefusedError as error:
            reply = Refusal(ask.number, error.code, readable(str(error)))
        self._outgoing.put(reply.encode())

    def _frames(self) -> Iterator[bytes]:
        """Yield frames to the network; runs in a thread of the gRPC library."""
        while (frame := self._outgoing.get()) is not None:
            yield frame
