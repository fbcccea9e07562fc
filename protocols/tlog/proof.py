"""Proof files: everything to check offline that one entry stands in a witnessed log.

    c2sp.org/tlog-proof@v1
    extra <base64>                      if there is any; nothing vouches for it
    index <decimal>
    <base64 hash>                       the inclusion proof, leaf's sibling first
    <empty line>
    <checkpoint, a signed note>

Source:
    C2SP tlog-proof (https://c2sp.org/tlog-proof), C2SP@0065ea5.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocols.errors import MalformedMessageError
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.lines import (
    HASH_SIZE,
    MAX_SIZE,
    format_base64,
    parse_base64,
    parse_decimal,
    parse_hash,
    parse_text,
)
from protocols.tlog.merkle import hash_leaf, verify_inclusion
from protocols.tlog.note import MAX_NOTE_SIZE, Note
from protocols.tlog.policy import Policy, Witnessed

HEADER = "c2sp.org/tlog-proof@v1"
MAX_HASHES = 63  # a tree of up to 2^63 - 1 leaves is no higher
MAX_EXTRA_SIZE = 65_536
MAX_PROOF_SIZE = MAX_NOTE_SIZE + 2 * MAX_EXTRA_SIZE


@dataclass(frozen=True, slots=True)
class LogProof:
    """An index, the hashes that lead from it to a root, and the note that vouches for the root."""

    index: int
    hashes: tuple[bytes, ...]
    note: Note
    extra: bytes | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.index <= MAX_SIZE or len(self.hashes) > MAX_HASHES:
            raise ValueError(f"proof: index not in 0..2^63 - 1, or over {MAX_HASHES} hashes")
        if any(len(item) != HASH_SIZE for item in self.hashes):
            raise ValueError(f"proof: a hash is not of {HASH_SIZE} bytes")
        if len(self.extra or b"") > MAX_EXTRA_SIZE:
            raise ValueError(f"proof: extra data of more than {MAX_EXTRA_SIZE} bytes")

    def encode(self) -> bytes:
        """Write the proof file."""
        extra = [] if self.extra is None else [f"extra {format_base64(self.extra)}"]
        lines = [HEADER, *extra, f"index {self.index}", *map(format_base64, self.hashes), ""]
        return "".join(f"{line}\n" for line in lines).encode() + self.note.encode()

    @classmethod
    def decode(cls, data: bytes) -> LogProof:
        """Read a proof file; the note in it is a checkpoint by its form.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        if len(data) > MAX_PROOF_SIZE:
            raise MalformedMessageError(f"proof: {len(data)} bytes, at most {MAX_PROOF_SIZE}")
        head, gap, note = data.partition(b"\n\n")
        lines = parse_text(head, "proof").split("\n")
        if not gap or lines.pop(0) != HEADER:
            raise MalformedMessageError(f"proof: no {HEADER}, or no empty line before a note")
        extra = None
        if lines and lines[0].startswith("extra "):
            extra = parse_base64(lines.pop(0).removeprefix("extra "), "proof extra")
        if not lines or not lines[0].startswith("index "):
            raise MalformedMessageError("proof: no index line")
        index = parse_decimal(lines.pop(0).removeprefix("index "), "proof index")
        hashes = parse_hashes(lines, "proof")
        try:
            found = cls(index, hashes, Note.decode(note), extra)
        except ValueError as error:
            raise MalformedMessageError(f"{error}") from error
        # Without this, hashes behind a misplaced empty line would pass for text of the note.
        Checkpoint.parse(found.note.text)
        return found


def parse_hashes(lines: list[str], subject: str) -> tuple[bytes, ...]:
    """Read at most 63 lines of one hash each.

    Raises:
        MalformedMessageError: on any other lines.
    """
    if len(lines) > MAX_HASHES:
        raise MalformedMessageError(f"{subject}: {len(lines)} hashes, at most {MAX_HASHES}")
    return tuple(parse_hash(line, f"{subject} hash") for line in lines)


def verify_proof(proof: LogProof, entry: bytes, policy: Policy) -> Witnessed:
    """Return the checkpoint in which `entry` is shown to stand, witnessed as `policy` asks.

    Raises:
        MalformedMessageError: the note is no checkpoint.
        InvalidProofError: signatures, quorum or inclusion do not hold.
    """
    witnessed = policy.verify(proof.note)
    checkpoint = witnessed.checkpoint
    leaf_hash = hash_leaf(entry)
    verify_inclusion(proof.index, checkpoint.size, leaf_hash, proof.hashes, checkpoint.root)
    return witnessed
