"""The frames of a standing link: the hub asks, a node answers, over a stream the node opened.

    hub  -> node   GREETING   the node's own name, as the hub reads it from its certificate
    hub  -> node   ASK        number, kind, body
    node -> hub    ANSWER     the same number, body
    node -> hub    REFUSAL    the same number, a stable code, a sentence for a person

A number is used once in a stream, and answers may come in any order. A frame names nobody
but the node itself: whom an answer is from is known from the certificate of the stream.

Wire format: `version (u8) || frame (u8) || fields`, integers big-endian, text and bodies
behind their length (u32); nothing may follow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import IntEnum

from protocols.codec import Reader, Writer
from protocols.errors import MalformedMessageError
from protocols.link import SERVICE, check_party

VERSION = 1
STAND_METHOD = f"/{SERVICE}/Stand"
# The largest body is a full batch of 65,536 elements with its header and signature, 2 MiB.
MAX_BODY_SIZE = 4 << 20
MAX_TEXT = 2_000

_KIND = re.compile(r"[a-z][a-z0-9.-]{0,63}")
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_LAST_NUMBER = 2**64 - 1


class _Frame(IntEnum):
    GREETING = 1
    ASK = 2
    ANSWER = 3
    REFUSAL = 4


@dataclass(frozen=True, slots=True)
class Greeting:
    """The first frame of the hub: the node is let in under this name."""

    name: str

    def __post_init__(self) -> None:
        check_party(self.name)

    def encode(self) -> bytes:
        """Write the frame."""
        return _begin(_Frame.GREETING).text(self.name).encode()


@dataclass(frozen=True, slots=True)
class Ask:
    """A question of the hub.

    Args:
        kind: what is asked, as "evaluate" or "keygen.run".
    """

    number: int
    kind: str
    body: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check_number(self.number)
        if not _KIND.fullmatch(self.kind):
            raise MalformedMessageError(
                "ask: kind must be 1 to 64 lower-case letters, digits, '.' or '-', a letter first"
            )
        _check_body(self.body, "ask")

    def encode(self) -> bytes:
        """Write the frame."""
        return _begin(_Frame.ASK).u64(self.number).text(self.kind).block(self.body).encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node answers."""

    number: int
    body: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check_number(self.number)
        _check_body(self.body, "answer")

    def encode(self) -> bytes:
        """Write the frame."""
        return _begin(_Frame.ANSWER).u64(self.number).block(self.body).encode()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a node does not answer; never holds anything of a person.

    Args:
        code: stable name of the error class at the node.
        text: one sentence that the hub's operator reads.
    """

    number: int
    code: str
    text: str

    def __post_init__(self) -> None:
        _check_number(self.number)
        if not _CODE.fullmatch(self.code):
            raise MalformedMessageError(
                "refusal: code must be 1 to 64 lower-case letters, digits or '_', a letter first"
            )
        # The text goes to an operator's terminal: no control character may reach it.
        if len(self.text) > MAX_TEXT or not self.text.isprintable():
            raise MalformedMessageError(
                f"refusal: text must be at most {MAX_TEXT} printable characters"
            )

    def encode(self) -> bytes:
        """Write the frame."""
        return _begin(_Frame.REFUSAL).u64(self.number).text(self.code).text(self.text).encode()


StandingFrame = Greeting | Ask | Answer | Refusal


def decode_frame(data: bytes) -> StandingFrame:
    """Read one frame of a standing link.

    Raises:
        MalformedMessageError: on any byte string that no `encode` can have written.
    """
    reader = Reader(data, "standing frame")
    if (version := reader.u8()) != VERSION:
        raise MalformedMessageError(f"standing frame: version {version}, expected {VERSION}")
    kind = reader.u8()
    frame: StandingFrame
    match kind:
        case _Frame.GREETING:
            frame = Greeting(reader.text())
        case _Frame.ASK:
            frame = Ask(reader.u64(), reader.text(), reader.block())
        case _Frame.ANSWER:
            frame = Answer(reader.u64(), reader.block())
        case _Frame.REFUSAL:
            frame = Refusal(reader.u64(), reader.text(), reader.text())
        case _:
            raise MalformedMessageError(f"standing frame: unknown kind {kind}")
    reader.finish()
    return frame


def readable(text: str) -> str:
    """Make any text fit a refusal: one line, nothing unprintable, at most the allowed length."""
    line = "".join(mark if mark.isprintable() else " " for mark in text)
    return line[:MAX_TEXT]


def _begin(frame: _Frame) -> Writer:
    return Writer().u8(VERSION).u8(frame)


def _check_number(number: int) -> None:
    if not 0 <= number <= _LAST_NUMBER:
        raise MalformedMessageError("standing frame: number is not of 64 bits")


def _check_body(body: bytes, subject: str) -> None:
    if len(body) > MAX_BODY_SIZE:
        raise MalformedMessageError(
            f"{subject}: body of {len(body)} bytes, at most {MAX_BODY_SIZE} allowed"
        )
