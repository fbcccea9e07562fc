"""The node's end of the link: one outbound stream to the hub's relay, for one phase.

    with Link("hub.example:8443", credentials, "run-7", "train", deadline_s=120) as link:
        link.send("telecom", frame)
        answer = link.receive("telecom")

For one plain thread, which never waits longer than `deadline_s` at one call. Two threads
behind it move frames; the reader goes on while the program computes, so that two parties
that send large payloads to each other do not block each other.

Leaving the block normally tells the others that this party is done; leaving it by an
exception breaks the phase off for all, at once. Payloads are sealed by the caller:
the hub sees every byte that is handed over here.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self

import grpc

from protocols.errors import MalformedMessageError
from protocols.link import (
    ATTACH_METHOD,
    HELLO_METADATA_KEY,
    MAX_ENVELOPE_SIZE,
    PARTY_METADATA_KEY,
    Envelope,
    Kind,
    TransportError,
    phase_label,
    split_payload,
)
from protocols.mailbox import Mailbox

__all__ = ["Credentials", "Link", "TransportError"]

# A hub that is gone without a word is noticed within 20 s: a ping every 8, 12 for the answer.
# The core library waits a minute for answers unless both of its timeouts are set. A ping
# queues behind data, so a saturated line must move its buffers (some MB) in that time.
KEEPALIVE_S = 8
KEEPALIVE_ANSWER_S = 12
# How much may wait for the network before `send` waits, and how much may have arrived
# before the reader pauses. The reader never pauses while the program waits for a payload:
# the awaited one may stand behind those of others.
OUTGOING_BYTES = 8 << 20
INCOMING_BYTES = 1 << 30
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_ENVELOPE_SIZE),
    ("grpc.max_send_message_length", MAX_ENVELOPE_SIZE),
    ("grpc.keepalive_time_ms", KEEPALIVE_S * 1000),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_ANSWER_S * 1000),
    ("grpc.http2.ping_timeout_ms", KEEPALIVE_ANSWER_S * 1000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.use_local_subchannel_pool", 1),
    # The address of the hub is what the partner configured; no proxy of the environment.
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """PEM files with which a node and its hub know each other."""

    authority: Path
    certificate: Path
    key: Path


class Link:
    """A standing connection to the other parties of one phase of one run.

    Args:
        address: `host:port` of the hub.
        phase: name of the phase; together with `attempt` it is one channel.
        deadline_s: the longest that any one call may wait.

    Raises:
        TransportError: the hub is not reachable or lets the node not in.
    """

    def __init__(
        self,
        address: str,
        credentials: Credentials,
        run: str,
        phase: str,
        deadline_s: float,
        *,
        attempt: int = 1,
    ) -> None:
        self._address = address
        self._run = run
        self._label = phase_label(phase, attempt)
        self._deadline_s = deadline_s
        self._mailbox = Mailbox(run, self._label)
        self._sent: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._departed = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._outgoing: deque[bytes] = deque()
        self._outgoing_bytes = 0
        self._awaiting = False
        self._closing = False
        self._ended = False
        self._left = False
        self.party = ""
        self.parties: frozenset[str] = frozenset()
        self._channel = open_channel(address, credentials)
        hello = Envelope(run, self._label, Kind.HELLO).encode()
        self._call = self._channel.stream_stream(ATTACH_METHOD)(
            self._outgoing_frames(), metadata=((HELLO_METADATA_KEY, hello),)
        )
        self._reader = threading.Thread(target=self._read, name="link-read", daemon=True)
        self._reader.start()
        self._await_welcome()

    @property
    def bytes_sent(self) -> Mapping[str, int]:
        """Payload bytes by recipient."""
        with self._lock:
            return dict(self._sent)

    @property
    def bytes_received(self) -> Mapping[str, int]:
        """Payload bytes by sender."""
        with self._lock:
            return dict(self._mailbox.received)

    def send(self, to: str, payload: bytes) -> None:
        """Hand one payload to the network; it is on its way, not yet delivered.

        Raises:
            TransportError: no such party, the phase is over, or the hub took nothing
                before the deadline.
        """
        if to == self.party or to not in self.parties:
            raise TransportError(f"{to} is no other party of run {self._run}", retryable=False)
        ends_at = monotonic() + self._deadline_s
        for kind, piece in split_payload(payload):
            frame = Envelope(self._run, self._label, kind, to, piece).encode()
            with self._lock:
                self._check_usable()
                while self._outgoing_bytes >= OUTGOING_BYTES:
                    if not self._room.wait(ends_at - monotonic()) and monotonic() >= ends_at:
                        raise self._overdue(f"the hub took no frame for {to}", to)
                    self._check_usable()
                self._enqueue(frame)
        with self._lock:
            self._sent[to] += len(payload)

    def receive(self, sender: str) -> bytes:
        """Return the next payload of a party, in the order in which it sent them.

        Raises:
            TransportError: the party broke off or left, the hub is gone or closed the
                run, or nothing came before the deadline.
        """
        if sender == self.party or sender not in self.parties:
            raise TransportError(f"{sender} is no other party of run {self._run}", retryable=False)
        ends_at = monotonic() + self._deadline_s
        with self._lock:
            self._awaiting = True
            self._room.notify_all()
            try:
                while (payload := self._mailbox.take(sender)) is None:
                    if not self._arrived.wait(ends_at - monotonic()) and monotonic() >= ends_at:
                        raise self._overdue(f"nothing from {sender}", sender)
            finally:
                self._awaiting = False
            self._room.notify_all()
            return payload

    def close(self) -> None:
        """Leave the phase when all that was sent has reached the hub; once is enough.

        Raises:
            TransportError: it did not reach the hub before the deadline.
        """
        with self._lock:
            if self._closing:
                return
            self._closing = True
            self._enqueue(Envelope(self._run, self._label, Kind.LEAVE).encode())
            # A reader that pauses on a full mailbox would never see the end of the stream.
            self._room.notify_all()
            ended = self._arrived.wait_for(lambda: self._ended, self._deadline_s)
        self._shut()
        if not ended:
            raise self._overdue("not all that was sent reached the hub", None)
        if not self._left:
            self._mailbox.check()

    def abort(self) -> None:
        """Break the phase off for all parties; never waits for them and never fails."""
        with self._lock:
            self._closing = True
            self._mailbox.fail("this party broke the phase off", retryable=False)
        self._shut()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()

    def _await_welcome(self) -> None:
        try:
            with self._lock:
                self._arrived.wait_for(lambda: self.party or self._ended, self._deadline_s)
                if not self.party:
                    self._mailbox.fail(f"no answer from the hub at {self._address}", retryable=True)
                    self._mailbox.check()
        except TransportError:
            self.abort()
            raise

    def _check_usable(self) -> None:
        if self._closing:
            raise TransportError("the link is closed", retryable=False)
        self._mailbox.check()

    def _overdue(self, what: str, party: str | None) -> TransportError:
        return TransportError(
            f"{what} within {self._deadline_s} s in phase {self._label} of run {self._run}",
            retryable=True,
            party=party,
        )

    def _enqueue(self, frame: bytes) -> None:
        self._outgoing.append(frame)
        self._outgoing_bytes += len(frame)
        self._departed.notify()

    def _outgoing_frames(self) -> Iterator[bytes]:
        """Yield frames to the network; runs in a thread of the gRPC library."""
        while True:
            with self._lock:
                self._departed.wait_for(lambda: self._outgoing or self._closing or self._ended)
                if self._ended or not self._outgoing:
                    return
                frame = self._outgoing.popleft()
                self._outgoing_bytes -= len(frame)
                self._room.notify_all()
            yield frame

    def _read(self) -> None:
        """File everything that arrives until the stream ends, then say why it did."""
        try:
            for frame in self._call:
                self._file(frame)
            with self._lock:
                # The relay ends a stream without a notice only after it has read LEAVE,
                # and so everything that was sent before it.
                self._left = self._closing and not self._outgoing and not self._mailbox.failed
            self._end("the hub ended the stream", retryable=True)
        except MalformedMessageError as error:
            self._call.cancel()
            self._end(f"the hub sent what it must not send: {error}", retryable=False)
        except grpc.RpcError as error:
            reason, retryable = explain_status(error, self._address)
            self._end(reason, retryable=retryable, party=_party_at_fault(error))

    def _file(self, frame: bytes) -> None:
        envelope = Envelope.decode(frame)
        with self._lock:
            if envelope.kind is Kind.WELCOME and not self.party:
                self.parties = frozenset(envelope.text.split(","))
                self.party = envelope.party
            else:
                self._mailbox.accept(envelope)
            self._arrived.notify_all()
            self._room.wait_for(
                lambda: (
                    self._mailbox.buffered_bytes < INCOMING_BYTES or self._awaiting or self._closing
                )
            )

    def _end(self, reason: str, *, retryable: bool, party: str | None = None) -> None:
        with self._lock:
            self._ended = True
            self._mailbox.fail(reason, retryable=retryable, party=party)
            for condition in (self._arrived, self._departed, self._room):
                condition.notify_all()

    def _shut(self) -> None:
        self._call.cancel()
        with self._lock:
            self._room.notify_all()
            self._departed.notify_all()
        self._channel.close()
        self._reader.join(self._deadline_s)


def open_channel(address: str, credentials: Credentials) -> Any:
    """Return a gRPC channel to the hub; it dials when it is first used.

    Raises:
        TransportError: the credentials cannot be read.
    """
    try:
        loaded = grpc.ssl_channel_credentials(
            credentials.authority.read_bytes(),
            read_secret(credentials.key),
            credentials.certificate.read_bytes(),
        )
    except OSError as error:
        raise TransportError(
            f"credentials: {error.filename} cannot be read; join the hub first", retryable=False
        ) from error
    return grpc.secure_channel(address, loaded, options=_OPTIONS)


def _party_at_fault(error: Any) -> str | None:
    """Return the party that the hub names in its refusal, if it names one."""
    named = dict(error.trailing_metadata() or ()).get(PARTY_METADATA_KEY)
    return named if isinstance(named, str) else None


def explain_status(error: Any, address: str) -> tuple[str, bool]:
    """Say in one sentence what a gRPC status means for the caller, and whether to retry."""
    details = error.details() or "no reason given"
    match error.code():
        case grpc.StatusCode.UNAVAILABLE:
            return f"the hub at {address} cannot be reached: {details}", True
        case grpc.StatusCode.ABORTED | grpc.StatusCode.RESOURCE_EXHAUSTED:
            return f"the hub does not let this node in yet: {details}", True
        case grpc.StatusCode.PERMISSION_DENIED | grpc.StatusCode.INVALID_ARGUMENT:
            return f"the hub refused: {details}", False
        case grpc.StatusCode.CANCELLED:
            return "the link was closed", False
        case code:
            return f"the link to {address} failed: {code.name.lower()}: {details}", True
