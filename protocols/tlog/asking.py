"""Asking a witness over a standing link, for partners that open no port to the outside.

    hub -> partner    ask "witness.add-checkpoint"    the request, as it would be posted
    partner -> hub    <status> <content type> \\n <body>

The rules and every answer are those of HTTP (`witness`); the link carries them and adds
nothing. A witness answers so whatever it is sent: an ask is never refused by the link for
what is in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from protocols.errors import MalformedMessageError
from protocols.tlog.note import MAX_NOTE_SIZE

ADD_CHECKPOINT = "witness.add-checkpoint"
MAX_ANSWER_SIZE = MAX_NOTE_SIZE + 256

_HEAD = re.compile(rb"([1-5][0-9]{2}) ([\x21-\x7e][\x20-\x7e]{0,99})\n")
_TYPE = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,99}")


@dataclass(frozen=True, slots=True)
class WitnessAnswer:
    """What a witness answers, over whichever way: as `witness.read_answer` takes it."""

    status: int
    content_type: str
    body: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not 100 <= self.status <= 599 or not _TYPE.fullmatch(self.content_type):  # noqa: PLR2004 - what HTTP has
            raise ValueError("witness answer: no status of HTTP, or no content type")
        if len(self.body) > MAX_NOTE_SIZE:
            raise ValueError(f"witness answer: body of {len(self.body)} bytes")

    def encode(self) -> bytes:
        """Write the answer."""
        return f"{self.status} {self.content_type}\n".encode() + self.body

    @classmethod
    def decode(cls, data: bytes) -> WitnessAnswer:
        """Read an answer.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        head = _HEAD.match(data)
        if head is None or len(data) - head.end() > MAX_NOTE_SIZE:
            raise MalformedMessageError(
                "witness answer: no line with status and content type, or more than 1 MiB"
            )
        return cls(int(head[1]), head[2].decode(), data[head.end() :])
