"""The rules of a witness: what it cosigns, what it refuses, and with which HTTP status.

    log -> witness   POST add-checkpoint:  old <size> \\n proof lines \\n empty line \\n checkpoint
    witness -> log   200 signature lines | 400 | 403 | 404 | 409 and the size it holds | 422

A witness holds, for every log that it knows, the size and root that it last cosigned. It
cosigns only what is shown to extend that, so two contradicting histories never both get its
signature. The check and the storing of the new head must be one transaction, and the head
must be durable before the answer leaves: otherwise two requests at once could roll it back.

Source:
    C2SP tlog-witness (https://c2sp.org/tlog-witness), C2SP@055270b, add-checkpoint. A
    checkpoint of the old size with another root is answered 422, as in later texts; this one
    and some witnesses have 409 with an empty body, which `read_answer` takes for a fork too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.cosignature import Signed, sign_checkpoint, verify_signers
from protocols.tlog.errors import NotCosignedError
from protocols.tlog.lines import HASH_SIZE, MAX_SIZE, format_base64, parse_decimal, parse_text
from protocols.tlog.merkle import EMPTY_ROOT, verify_consistency
from protocols.tlog.note import (
    MAX_NOTE_SIZE,
    MAX_SIGNATURES,
    Note,
    SignatureLine,
    Signer,
    VerifierKey,
)
from protocols.tlog.proof import MAX_HASHES, parse_hashes

SIZE_TYPE = "text/x.tlog.size"
TEXT_TYPE = "text/plain; charset=utf-8"
MAX_REQUEST_SIZE = MAX_NOTE_SIZE + 4_096
OK = 200


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A request to cosign a checkpoint, with the proof that it extends the tree of `old_size`."""

    old_size: int
    proof: tuple[bytes, ...]
    note: Note

    def __post_init__(self) -> None:
        if not 0 <= self.old_size <= MAX_SIZE or len(self.proof) > MAX_HASHES:
            raise ValueError(f"request: old size not in 0..2^63 - 1, or over {MAX_HASHES} hashes")
        if any(len(item) != HASH_SIZE for item in self.proof):
            raise ValueError(f"request: a hash is not of {HASH_SIZE} bytes")

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint to be cosigned, not yet verified."""
        return Checkpoint.parse(self.note.text)

    def encode(self) -> bytes:
        """Write the body of the request."""
        lines = [f"old {self.old_size}", *map(format_base64, self.proof), ""]
        return "".join(f"{line}\n" for line in lines).encode() + self.note.encode()

    @classmethod
    def decode(cls, data: bytes) -> AddCheckpoint:
        """Read the body of a request; the note in it is a checkpoint by its form.

        Raises:
            MalformedMessageError: on any other byte string; the answer is 400.
        """
        if len(data) > MAX_REQUEST_SIZE:
            raise MalformedMessageError(f"request: {len(data)} bytes, at most {MAX_REQUEST_SIZE}")
        head, gap, note = data.partition(b"\n\n")
        lines = parse_text(head, "request").split("\n")
        if not gap or not lines[0].startswith("old "):
            raise MalformedMessageError("request: no old size, or no empty line before a note")
        old_size = parse_decimal(lines[0].removeprefix("old "), "request old size")
        found = cls(old_size, parse_hashes(lines[1:], "request"), Note.decode(note))
        Checkpoint.parse(found.note.text)
        return found


@dataclass(frozen=True, slots=True)
class Head:
    """What a witness last cosigned of one log; the empty tree if nothing yet."""

    size: int = 0
    root: bytes = EMPTY_ROOT


class Reason(StrEnum):
    """Why a checkpoint is not cosigned; a stable name for logs and metrics."""

    MALFORMED = "malformed"
    OLD_SIZE_TOO_LARGE = "old_size_too_large"
    NOT_SIGNED = "not_signed"
    UNKNOWN_LOG = "unknown_log"
    STALE = "stale"
    INCONSISTENT = "inconsistent"  # the proof does not hold: a mistake, or an attempt at a fork
    FORK = "fork"  # signed by the log and contradicts what it signed before: evidence


_STATUS = {
    Reason.MALFORMED: 400,
    Reason.OLD_SIZE_TOO_LARGE: 400,
    Reason.NOT_SIGNED: 403,
    Reason.UNKNOWN_LOG: 404,
    Reason.STALE: 409,
    Reason.INCONSISTENT: 422,
    Reason.FORK: 422,
}


@dataclass(frozen=True, slots=True)
class Cosigned:
    """The checkpoint is cosigned: store `head`, and only then send the answer.

    Args:
        note: the checkpoint with the log's signatures and our own: keep it with the head.
    """

    head: Head
    note: Note
    lines: tuple[SignatureLine, ...]

    @property
    def answer(self) -> tuple[int, str, bytes]:
        """HTTP status, content type and body."""
        return OK, TEXT_TYPE, "".join(line.format() for line in self.lines).encode()


@dataclass(frozen=True, slots=True)
class Refused:
    """The checkpoint is not cosigned, and nothing changes.

    Args:
        known_size: what the witness holds, where that is the answer.
    """

    reason: Reason
    known_size: int | None = None

    @property
    def answer(self) -> tuple[int, str, bytes]:
        """HTTP status, content type and body."""
        if self.known_size is None:
            return _STATUS[self.reason], TEXT_TYPE, f"{self.reason}\n".encode()
        return _STATUS[self.reason], SIZE_TYPE, f"{self.known_size}\n".encode()


def decide(  # noqa: PLR0911 - one return for each answer of the specification
    request: AddCheckpoint,
    *,
    keys: Sequence[VerifierKey] | None,
    head: Head,
    signers: Sequence[Signer],
    now: int,
) -> Cosigned | Refused:
    """Decide on a request; the caller holds the head of this log until the outcome is stored.

    Args:
        keys: of the log with this origin; None if the witness does not know the log.
        head: what the witness last cosigned of this log.
        signers: the witness's own keys, one line each.
        now: Unix seconds, above 0.
    """
    # The order of the checks is the specification's; each answer tells nothing that a later
    # check would have to guard.
    checkpoint = request.checkpoint
    if keys is None:
        return Refused(Reason.UNKNOWN_LOG)
    signed = _signed(checkpoint, request.note, keys)
    if not signed:
        return Refused(Reason.NOT_SIGNED)
    if request.old_size > checkpoint.size:
        return Refused(Reason.OLD_SIZE_TOO_LARGE)
    if request.old_size != head.size:
        return Refused(Reason.STALE, known_size=head.size)
    # Also for size 0: the empty tree has one root, whether anything was cosigned or not.
    if checkpoint.size == head.size and checkpoint.root != head.root:
        return Refused(Reason.FORK)
    if not _extends(request, checkpoint, head):
        return Refused(Reason.INCONSISTENT)
    lines = tuple(sign_checkpoint(checkpoint, signer, now) for signer in signers)
    # One line of each known key is kept: a stored note must not grow by what anyone appends.
    note = Note(request.note.text, (*(item.line for item in signed), *lines))
    return Cosigned(Head(checkpoint.size, checkpoint.root), note, lines)


def read_answer(
    status: int, content_type: str, body: bytes, *, note: Note, keys: Sequence[VerifierKey]
) -> list[SignatureLine]:
    """Return the signatures of a witness, one a key, out of its answer to our checkpoint `note`.

    Args:
        keys: of this witness; lines of others are passed over.

    Raises:
        NotCosignedError: any status but 200; says whether the witness suspects a fork.
        MalformedMessageError: the body is not what the status asks for.
        InvalidProofError: a line of the witness does not verify, or there is none.
    """
    if status != OK:
        raise _not_cosigned(status, content_type, body)
    lines = parse_text(body, "witness answer").split("\n")
    if lines.pop() or not 1 <= len(lines) <= MAX_SIGNATURES:
        raise MalformedMessageError(f"witness answer: not 1 to {MAX_SIGNATURES} whole lines")
    answer = Note(note.text, tuple(SignatureLine.parse(line) for line in lines))
    signed = verify_signers(Checkpoint.parse(note.text), answer, keys)
    if not signed:
        raise InvalidProofError("witness answer: no signature of this witness")
    return [item.line for item in signed.values()]


def _not_cosigned(status: int, content_type: str, body: bytes) -> NotCosignedError:
    known_size = None
    bare_type = content_type.partition(";")[0].strip().lower()
    if status == _STATUS[Reason.STALE] and bare_type == SIZE_TYPE:
        text = parse_text(body, "witness answer")
        if not text.endswith("\n"):
            raise MalformedMessageError("witness answer: no newline after the size")
        known_size = parse_decimal(text[:-1], "witness answer size")
    # 409 without a size is how some witnesses say that the roots differ.
    suspects = status == _STATUS[Reason.FORK] or (
        status == _STATUS[Reason.STALE] and known_size is None
    )
    return NotCosignedError(
        f"witness answered {status}", status=status, known_size=known_size, suspects_fork=suspects
    )


def _signed(checkpoint: Checkpoint, note: Note, keys: Sequence[VerifierKey]) -> list[Signed]:
    try:
        return list(verify_signers(checkpoint, note, keys).values())
    except InvalidProofError:
        return []


def _extends(request: AddCheckpoint, checkpoint: Checkpoint, head: Head) -> bool:
    try:
        if head.size == 0:
            return not request.proof  # "The proof MUST be empty if the old size is zero."
        verify_consistency(head.size, checkpoint.size, request.proof, head.root, checkpoint.root)
    except InvalidProofError:
        return False
    return True
