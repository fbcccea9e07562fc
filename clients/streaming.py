"""The node's stream to the relay, which goes on over a new connection when it loses one.

Frames are handed to the network in order and kept until the relay says that it has them; a
frame that comes twice is not handed on. So the program above sees one unbroken line, or the
end of it: where the hub says no, where it is away for longer than the grace, or where it is of
a version that lets nobody come back.

Two threads: one of ours that dials and reads, and one of the gRPC library's that fetches the
frames to send.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Any

import grpc

from clients.dialling import DIAL_S, Credentials, explain_status, open_channel, party_at_fault
from clients.versions import METADATA, check_call
from compliance.backoff import Backoff
from protocols.errors import MalformedMessageError
from protocols.link import (
    ACKNOWLEDGE_EVERY,
    ATTACH_METHOD,
    HEARTBEAT_S,
    HELLO_METADATA_KEY,
    RECEIVED_METADATA_KEY,
    RESUME_METADATA_KEY,
    SESSION_SIZE,
    SILENT_GRACE_S,
    UNNUMBERED_KINDS,
    WINDOW_BYTES,
    Envelope,
    Kind,
    Resumption,
    acknowledgement,
    grace_s,
)
from protocols.replay import Replay
from protocols.versions import IncompatibleVersionError

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 5.0
# How much may wait for the network, or for its acknowledgement, before `put` waits.
OUTGOING_BYTES = WINDOW_BYTES
# How long the hub gets to hear that a phase is broken off on purpose.
_LAST_WORD_S = 2.0
_log = logging.getLogger("lianfang.link")


@dataclass(frozen=True, slots=True)
class Ending:
    """Why nothing more can come; an empty reason where the relay has read our last frame.

    Args:
        retryable: whether another attempt of the phase may do better.
        lost: the connection was lost, and another one may take its place.
    """

    reason: str
    retryable: bool = False
    party: str | None = None
    lost: bool = False


class Stream:
    """One stream for one phase, over as many connections as it takes.

    Args:
        file: is given every envelope once and in order, by a thread of the stream.
        on_end: is told once that nothing more can come.
        grace_s: the longest that the hub may be away; less where it closed the connection.
    """

    def __init__(
        self,
        address: str,
        credentials: Credentials,
        run: str,
        label: str,
        *,
        file: Callable[[Envelope], None],
        on_end: Callable[[Ending], None],
        grace_s: float = SILENT_GRACE_S,
    ) -> None:
        self._address = address
        self._credentials = credentials
        self._run = run
        self._label = label
        self._file = file
        self._on_end = on_end
        self._grace_s = grace_s
        self._session = os.urandom(SESSION_SIZE)
        self._changed = threading.Condition()
        self._outbox = Replay()
        self._received = 0
        self._unacknowledged_bytes = 0
        # Of the connection whose frames are fetched; 0 while there is none.
        self._connection = 0
        self._dialled = 0
        self._resumable = False
        self._heard_at = 0.0
        self._closing = False
        self._breaking = self._broken = False
        self._welcomed = False
        self._ended = False
        self._call: Any = None
        # The first channel is made here, so that unreadable credentials are told at once.
        self._channel: Any = open_channel(address, credentials)
        self._reader = threading.Thread(target=self._stay, name="link-read", daemon=True)

    def start(self) -> None:
        """Dial and read in the background."""
        self._reader.start()

    def put(self, frame: bytes, timeout_s: float) -> bool:
        """Hand over one frame; False if there is no room for it in time.

        A stream that has ended takes everything and does nothing with it.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._has_room() or self._ended, timeout_s):
                return False
            self._outbox.put(frame)
            self._changed.notify_all()
            return True

    def leave(self) -> None:
        """Send the last frame after all others; the stream ends when the relay has read it."""
        with self._changed:
            self._closing = True
            self._outbox.put(Envelope(self._run, self._label, Kind.LEAVE).encode())
            self._changed.notify_all()

    def break_off(self) -> None:
        """Tell the relay that the phase has failed here, if it can be reached; then end."""
        with self._changed:
            self._closing = self._breaking = True
            self._changed.notify_all()
            if self._connection and self._resumable:
                self._changed.wait_for(lambda: self._ended or not self._connection, _LAST_WORD_S)
        self.shut()

    def shut(self, timeout_s: float = 5.0) -> None:
        """End the stream, whatever has become of it."""
        with self._changed:
            self._ended = self._closing = True
            self._connection = 0
            self._changed.notify_all()
            call, channel = self._call, self._channel
        if call is not None:
            call.cancel()
        channel.close()
        if self._reader.ident is not None:
            self._reader.join(timeout_s)

    def _has_room(self) -> bool:
        return self._outbox.waiting_bytes + self._outbox.held_bytes < OUTGOING_BYTES

    def _stay(self) -> None:
        """Read one connection after another, until there is no sense in a further one."""
        backoff = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S)
        lost_at: float | None = None
        allowed_s = 0.0
        while True:
            began = monotonic()
            ending = self._read_connection()
            if self._heard_at > began:
                # The hub had let us in: this is a new loss, and it is tried again soon.
                backoff.reset()
                lost_at = None
            if lost_at is None:
                lost_at = monotonic()
                allowed_s = self._allowed_s(ending, began, lost_at)
                if allowed_s:
                    _log.warning("link: lost in phase %s: %s", self._label, ending.reason)
            late = monotonic() - lost_at >= allowed_s
            if not ending.lost or late or self._pause(backoff.wait_s()):
                break
            self._channel = open_channel(self._address, self._credentials)
        self._finish(ending)

    def _allowed_s(self, ending: Ending, began: float, now: float) -> float:
        """Return for how long to try again after a connection has ended."""
        if not ending.lost:
            return 0.0
        if self._resumable:
            return grace_s(now - max(self._heard_at, began), self._grace_s)
        # Never let in yet: an address that answers nothing may lie behind a lost line; one that
        # answers anything else is told at once.
        silent = not self._heard_at and now - began >= DIAL_S / 2
        return self._grace_s if silent else 0.0

    def _pause(self, seconds: float) -> bool:
        """Wait; True if the stream was ended meanwhile."""
        with self._changed:
            return self._changed.wait_for(lambda: self._ended, seconds)

    def _read_connection(self) -> Ending:
        """File what comes over one connection until it ends, and say why it did."""
        with self._changed:
            if self._ended:
                return Ending("the link was closed")
            self._dialled += 1
            number = self._dialled
            resumption = Resumption(self._session, self._received)
            metadata = (
                (HELLO_METADATA_KEY, Envelope(self._run, self._label, Kind.HELLO).encode()),
                (RESUME_METADATA_KEY, resumption.encode()),
                *METADATA,
            )
            attach = self._channel.stream_stream(ATTACH_METHOD)
            self._call = call = attach(self._frames(number), metadata=metadata)
        try:
            for frame in call:
                self._take(Envelope.decode(frame), call, number)
            return self._ended_by_hub()
        except MalformedMessageError as error:
            return Ending(f"the hub sent what it must not send: {error}")
        except IncompatibleVersionError as error:
            return Ending(str(error))
        except grpc.RpcError as error:
            reason, retryable = explain_status(error, self._address)
            return Ending(reason, retryable, party_at_fault(error), lost=retryable)
        finally:
            with self._changed:
                self._connection = 0
                self._dialled += 1
                self._changed.notify_all()
            call.cancel()
            self._channel.close()

    def _ended_by_hub(self) -> Ending:
        """The relay ends a stream without a notice only after it has read LEAVE or BREAK."""
        with self._changed:
            done = self._closing and not len(self._outbox)
        return Ending("") if done else Ending("the hub ended the stream", retryable=True)

    def _take(self, envelope: Envelope, call: Any, number: int) -> None:
        self._heard_at = monotonic()
        if envelope.kind is Kind.WELCOME and self._connection != number:
            self._admit(call, number)
            if self._welcomed:
                _log.warning("link: back in phase %s", self._label)
                return
            self._welcomed = True
        if envelope.kind is Kind.ACK:
            with self._changed:
                self._outbox.acknowledge(envelope.count)
                self._changed.notify_all()
            return
        self._file(envelope)
        if envelope.kind in UNNUMBERED_KINDS:
            return
        with self._changed:
            self._received += 1
            self._unacknowledged_bytes += len(envelope.body)
            if self._owes_acknowledgement():
                self._changed.notify_all()

    def _admit(self, call: Any, number: int) -> None:
        """Begin to send where the relay says that it has all before."""
        check_call(call)
        found = dict(call.initial_metadata() or ()).get(RECEIVED_METADATA_KEY)
        with self._changed:
            if found is None and self._resumable:
                raise MalformedMessageError("resumption: the hub does not say what it has")
            if found is not None:
                if not found.isascii() or not found.isdigit():
                    raise MalformedMessageError("resumption: the hub's count is no number")
                self._outbox.rewind(int(found))
                self._resumable = True
            self._connection = number
            self._changed.notify_all()

    def _frames(self, number: int) -> Iterator[bytes]:
        """Yield frames to the network; runs in a thread of the gRPC library."""
        while True:
            with self._changed:
                frame = self._next_frame(number)
            if frame is None:
                return
            yield frame

    def _next_frame(self, number: int) -> bytes | None:
        """Wait for what is to be sent over this connection; None when it is over."""

        def is_ready() -> bool:
            return (
                self._ended
                or self._dialled != number
                or (
                    self._connection == number
                    and (len(self._outbox) > 0 or self._closing or self._owes_acknowledgement())
                )
            )

        while True:
            in_time = self._changed.wait_for(is_ready, HEARTBEAT_S)
            if self._ended or self._dialled != number:
                return None
            if self._connection != number:
                continue
            if self._breaking and self._resumable and not self._broken:
                self._broken = True
                return Envelope(self._run, self._label, Kind.BREAK).encode()
            if self._breaking or (self._closing and not len(self._outbox)):
                return None
            if self._resumable and (not in_time or self._owes_acknowledgement()):
                self._unacknowledged_bytes = 0
                return acknowledgement(self._run, self._label, self._received).encode()
            if len(self._outbox):
                frame = self._outbox.take(keep=self._resumable)
                self._changed.notify_all()
                return frame

    def _owes_acknowledgement(self) -> bool:
        return self._resumable and self._unacknowledged_bytes >= ACKNOWLEDGE_EVERY

    def _finish(self, ending: Ending) -> None:
        with self._changed:
            self._ended = True
            self._connection = 0
            self._changed.notify_all()
        self._on_end(ending)
