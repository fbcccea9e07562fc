"""The envelope in which every byte travels between a node and the hub's relay.

    node  -> relay  HELLO                       which run and phase the stream is for
    relay -> node   WELCOME (own name)          body: all parties of the run
    node  -> relay  PART*, DATA (recipient)     one payload in pieces, DATA is the last
    relay -> node   PART*, DATA (sender)        the same body, the name exchanged
    node  -> relay  LEAVE, BREAK                nothing more will come; the phase has failed here
    relay -> node   LEFT, GONE (who), CLOSED    a party is done, has broken off; the run ends
    both            ACK                         how many frames have arrived; also says: alive

An envelope has one name: the recipient on the way up, the sender on the way down. There
is no field in which a node could write itself as someone else; the relay fills in the
name from the certificate of the stream. Bodies are sealed between the parties
(`protocols.seal`) and mean nothing to the relay.

A stream whose connection is lost goes on over a new one. Both ends number their frames (all
but HELLO, WELCOME, ACK and BREAK) from 0, keep them until they are acknowledged, and tell
each other in the call's metadata, `Resumption` upwards and a count downwards, what has
arrived; the rest is sent again. So each frame is taken once and in order, which the seals
count on. An end that knows nothing of it sends no such metadata, and a lost connection then
breaks the phase off.

Wire format, one byte each for version, kind and the three lengths:
`version || kind || |run| || run || |phase| || phase || |party| || party || body`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar

from protocols.errors import MalformedMessageError

VERSION = 1
MAX_BODY_SIZE = 64 << 20
# Large payloads go in small pieces: the relay stores a piece before it forwards it, so a
# piece of the full 64 MiB would stand still on each of the two legs in turn.
PIECE_SIZE = 1 << 20
MAX_PAYLOAD_SIZE = 1 << 30
# Envelope header: five single bytes and three names of at most 64 characters.
MAX_ENVELOPE_SIZE = MAX_BODY_SIZE + 5 + 3 * 64
SERVICE = "lianfang.Link"
ATTACH_METHOD = f"/{SERVICE}/Attach"
CONTROL_METHOD = f"/{SERVICE}/Control"
# The HELLO travels as call metadata, so that a stream without one never holds a thread.
HELLO_METADATA_KEY = "lianfang-hello-bin"
# Where the hub names the party because of whom it does not let a node in.
PARTY_METADATA_KEY = "lianfang-party"
# Upwards: a `Resumption`. Downwards, in the initial metadata: frames that the relay has, in digits.
RESUME_METADATA_KEY = "lianfang-resume-bin"
RECEIVED_METADATA_KEY = "lianfang-received"
SESSION_SIZE = 16
_COUNT_SIZE = 8

# An end that has nothing to say acknowledges this often, so that silence means a lost line.
HEARTBEAT_S = 3.0
# Who heard nothing for so long before its connection ended has lost the line; where something
# was heard just before, the other process has ended, or something between has hung up.
SILENT_AFTER_S = 10.0
# How long a stream may be away: a lost line; a connection that was closed by the other side.
SILENT_GRACE_S = 120.0
CLOSED_GRACE_S = 5.0
# Received bytes are acknowledged when they are so many; unacknowledged ones kept up to here.
ACKNOWLEDGE_EVERY = 256 << 10
WINDOW_BYTES = 8 << 20

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PARTY = re.compile(r"[a-z][a-z0-9-]{0,62}")


class TransportError(Exception):
    """The network or another party failed; nothing is known to be wrong with a message.

    Args:
        retryable: whether the same phase may succeed when it is started again.
        party: the party that broke off, where one is to be named.
    """

    code: ClassVar[str] = "transport_error"

    def __init__(self, message: str, *, retryable: bool, party: str | None = None) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.party = party


class Kind(IntEnum):
    """What an envelope is for."""

    HELLO = 1
    WELCOME = 2
    DATA = 3
    PART = 4
    LEAVE = 5
    LEFT = 6
    GONE = 7
    CLOSED = 8
    ACK = 9
    BREAK = 10


PAYLOAD_KINDS = frozenset({Kind.DATA, Kind.PART})
# Neither numbered nor sent again: each connection has its own.
UNNUMBERED_KINDS = frozenset({Kind.HELLO, Kind.WELCOME, Kind.ACK, Kind.BREAK})
_NAMED = frozenset({Kind.WELCOME, Kind.DATA, Kind.PART, Kind.LEFT, Kind.GONE})
_EMPTY = frozenset({Kind.HELLO, Kind.LEAVE, Kind.LEFT, Kind.BREAK})
_TEXTUAL = frozenset({Kind.WELCOME, Kind.GONE, Kind.CLOSED})


@dataclass(frozen=True, slots=True)
class Envelope:
    """One frame of a link.

    Args:
        phase: label of the phase and its attempt, see `phase_label`.
        body: of a decoded envelope, a view of the frame: the relay copies it only once.
        party: recipient towards the relay, sender or subject from it; empty where
            the kind names nobody.
    """

    run: str
    phase: str
    kind: Kind
    party: str = ""
    body: bytes | memoryview = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        check_label(self.run, "run")
        check_label(self.phase, "phase")
        if self.kind in _NAMED:
            check_party(self.party)
        elif self.party:
            raise MalformedMessageError(f"envelope: {self.kind.name} names a party, none expected")
        if self.kind in _EMPTY and self.body:
            raise MalformedMessageError(f"envelope: {self.kind.name} has a body, none expected")
        if len(self.body) > MAX_BODY_SIZE:
            raise MalformedMessageError(
                f"envelope: body of {len(self.body)} bytes, at most {MAX_BODY_SIZE} allowed"
            )
        if self.kind in _TEXTUAL:
            _decode_text(self.body)
        if self.kind is Kind.ACK and len(self.body) != _COUNT_SIZE:
            raise MalformedMessageError(
                f"envelope: ACK of {len(self.body)} bytes, expected {_COUNT_SIZE}"
            )

    @property
    def text(self) -> str:
        """The body of a notice: a reason, or the names of the parties."""
        return _decode_text(self.body)

    @property
    def count(self) -> int:
        """The frames that an ACK acknowledges, all since the first."""
        return int.from_bytes(self.body, "big")

    def encode(self) -> bytes:
        """Write the envelope in the wire format of the module."""
        head = bytearray((VERSION, self.kind))
        for name in (self.run, self.phase, self.party):
            head.append(len(name))
            head += name.encode("ascii")
        return b"".join((head, self.body))

    @classmethod
    def decode(cls, data: bytes) -> Envelope:
        """Read one envelope; the body is all that follows the names.

        Raises:
            MalformedMessageError: on any byte string that `encode` cannot have written.
        """
        if len(data) < 2:  # noqa: PLR2004 - version and kind
            raise MalformedMessageError(f"envelope: {len(data)} bytes, need at least 2")
        if data[0] != VERSION:
            raise MalformedMessageError(f"envelope: version {data[0]}, expected {VERSION}")
        try:
            kind = Kind(data[1])
        except ValueError as error:
            raise MalformedMessageError(f"envelope: unknown kind {data[1]}") from error
        run, at = _read_name(data, 2)
        phase, at = _read_name(data, at)
        party, at = _read_name(data, at)
        return cls(run=run, phase=phase, kind=kind, party=party, body=memoryview(data)[at:])


@dataclass(frozen=True, slots=True)
class Resumption:
    """What a node says when it attaches, so that it can come back after a lost connection.

    Wire format: `session (16) || received (u64)`.

    Args:
        session: drawn by the node for one stream; known to it and the relay alone.
        received: numbered frames that it has; 0 at the first connection.
    """

    session: bytes = field(repr=False)
    received: int = 0

    def encode(self) -> bytes:
        """Write it in the wire format."""
        return self.session + self.received.to_bytes(_COUNT_SIZE, "big")

    @classmethod
    def decode(cls, data: bytes) -> Resumption:
        """Read it; nothing may follow.

        Raises:
            MalformedMessageError: on any other length.
        """
        if len(data) != SESSION_SIZE + _COUNT_SIZE:
            raise MalformedMessageError(
                f"resumption: {len(data)} bytes, expected {SESSION_SIZE + _COUNT_SIZE}"
            )
        return cls(data[:SESSION_SIZE], int.from_bytes(data[SESSION_SIZE:], "big"))


def acknowledgement(run: str, phase: str, count: int) -> Envelope:
    """Say how many numbered frames have arrived."""
    return Envelope(run, phase, Kind.ACK, body=count.to_bytes(_COUNT_SIZE, "big"))


def grace_s(silence_s: float, longest_s: float = SILENT_GRACE_S) -> float:
    """Return how long a stream may be away that had heard nothing for so long when it ended."""
    return longest_s if silence_s > SILENT_AFTER_S else min(CLOSED_GRACE_S, longest_s)


def phase_label(phase: str, attempt: int) -> str:
    """Name one attempt of a phase; every attempt is a channel of its own.

    Frames of an attempt that broke off can so never be taken for frames of the next.
    """
    if attempt < 1:
        raise ValueError(f"attempt {attempt}, expected 1 or more")
    label = f"{phase}.{attempt}"
    check_label(label, "phase")
    return label


def check_label(value: str, subject: str) -> None:
    """Refuse a run or phase that is not 1 to 64 of `A-Z a-z 0-9 . _ -`."""
    if not _LABEL.fullmatch(value):
        raise MalformedMessageError(
            f"envelope: {subject} must be 1 to 64 letters, digits, '.', '_' or '-'"
        )


def check_party(value: str) -> None:
    """Refuse a party name that is not 1 to 63 of `a-z 0-9 -`, a letter first."""
    if not _PARTY.fullmatch(value):
        raise MalformedMessageError(
            "envelope: party must be 1 to 63 lower-case letters, digits or '-', a letter first"
        )


def split_payload(payload: bytes, piece_size: int = PIECE_SIZE) -> Iterator[tuple[Kind, bytes]]:
    """Cut a payload into PART pieces and one last DATA piece; an empty one is one DATA."""
    end = max(len(payload) - 1, 0) // piece_size * piece_size
    for start in range(0, end, piece_size):
        yield Kind.PART, payload[start : start + piece_size]
    yield Kind.DATA, payload[end:]


def _read_name(data: bytes, at: int) -> tuple[str, int]:
    if at >= len(data):
        raise MalformedMessageError("envelope: ends before a name")
    start, end = at + 1, at + 1 + data[at]
    if end > len(data):
        raise MalformedMessageError(f"envelope: {len(data) - start} bytes left, need {end - start}")
    try:
        return data[start:end].decode("ascii"), end
    except UnicodeDecodeError as error:
        raise MalformedMessageError("envelope: name is not ascii") from error


def _decode_text(body: bytes | memoryview) -> str:
    try:
        return bytes(body).decode()
    except UnicodeDecodeError as error:
        raise MalformedMessageError("envelope: notice is not utf-8") from error
