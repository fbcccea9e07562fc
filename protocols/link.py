"""The envelope in which every byte travels between a node and the hub's relay.

    node  -> relay  HELLO                       which run and phase the stream is for
    relay -> node   WELCOME (own name)          body: all parties of the run
    node  -> relay  PART*, DATA (recipient)     one payload in pieces, DATA is the last
    relay -> node   PART*, DATA (sender)        the same body, the name exchanged
    node  -> relay  LEAVE                       nothing more will come, on purpose
    relay -> node   LEFT, GONE (who), CLOSED    a party is done, has broken off; the run ends

An envelope has one name: the recipient on the way up, the sender on the way down. There
is no field in which a node could write itself as someone else; the relay fills in the
name from the certificate of the stream. Bodies are sealed between the parties
(`protocols.seal`) and mean nothing to the relay.

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


PAYLOAD_KINDS = frozenset({Kind.DATA, Kind.PART})
_NAMED = frozenset({Kind.WELCOME, Kind.DATA, Kind.PART, Kind.LEFT, Kind.GONE})
_EMPTY = frozenset({Kind.HELLO, Kind.LEAVE, Kind.LEFT})
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

    @property
    def text(self) -> str:
        """The body of a notice: a reason, or the names of the parties."""
        return _decode_text(self.body)

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
