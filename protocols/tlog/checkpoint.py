"""Checkpoints: the size and root of a log, as the text of a signed note.

    <origin>                 the log's name, which should be the name of its key
    <size>                   decimal
    <root>                   base64
    <extension line>         none is written here: witnesses do not check them

Source:
    C2SP tlog-checkpoint (https://c2sp.org/tlog-checkpoint), C2SP@2793893.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.tlog.lines import HASH_SIZE, MAX_SIZE, format_base64, parse_decimal, parse_hash
from protocols.tlog.merkle import EMPTY_ROOT
from protocols.tlog.note import check_note_text


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A claim about a log: after `size` entries its root is `root`."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_SIZE or len(self.root) != HASH_SIZE:
            raise ValueError(f"checkpoint: size not in 0..2^63 - 1, or root not {HASH_SIZE} bytes")
        lines = (self.origin, *self.extensions)
        if not all(lines) or any("\n" in line for line in lines):
            raise ValueError("checkpoint: origin and extensions are lines that are not empty")
        check_note_text(self.format())

    def format(self) -> str:
        """Write the text that is signed."""
        lines = (self.origin, str(self.size), format_base64(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read the text of a note.

        Raises:
            MalformedMessageError: on any other text.
        """
        if not text.endswith("\n"):
            raise MalformedMessageError("checkpoint: does not end in a newline")
        lines = text[:-1].split("\n")
        if len(lines) < 3 or not all(lines):  # noqa: PLR2004 - origin, size and root
            raise MalformedMessageError("checkpoint: not three lines or more, none of them empty")
        size = parse_decimal(lines[1], "checkpoint size")
        root = parse_hash(lines[2], "checkpoint root")
        try:
            return cls(lines[0], size, root, tuple(lines[3:]))
        except ValueError as error:
            raise MalformedMessageError("checkpoint: a control character") from error


def verify_empty_root(checkpoint: Checkpoint) -> None:
    """Return only if a checkpoint of size 0 has the root of the empty tree.

    Raises:
        InvalidProofError: it has another, which would be the root of no tree at all.
    """
    if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
        raise InvalidProofError("checkpoint: size 0 with a root that is not the empty tree's")
