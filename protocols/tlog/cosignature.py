"""Cosignatures: a witness says when it saw a checkpoint that extends all it saw before.

    Ed25519 (0x04)     signs   cosignature/v1 \\n time <now> \\n <text of the checkpoint>
    ML-DSA-44 (0x06)   signs   "subtree/v1\\n\\0" || cosigner name || time || origin ||
                               start || end || hash, over a checkpoint with start 0
    both are sent as           time (u64) || signature

The ML-DSA form commits to the cosigner's name and to no extension line, and can sign a
subtree, then without a time. The log itself may sign its checkpoints with it as well.

Source:
    C2SP tlog-cosignature (https://c2sp.org/tlog-cosignature), C2SP@01194db; FIPS 204; RFC 8032.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from protocols.errors import InvalidProofError
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.lines import HASH_SIZE, MAX_SIZE
from protocols.tlog.merkle import Subtree, is_subtree
from protocols.tlog.note import (
    KeyKind,
    Note,
    SignatureLine,
    Signer,
    VerifierKey,
    sign_note,
    verify_ed25519,
    verify_line,
)

TIME_SIZE = 8
MAX_LABEL = 255  # bytes of a name in an ML-DSA message
_SUBTREE_LABEL = b"subtree/v1\n\0"


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer, now: int) -> SignatureLine:
    """Sign a checkpoint in the way of the signer's type; a plain signature has no time.

    Args:
        now: when it was checked, in Unix seconds, above 0.
    """
    if not 0 < now <= MAX_SIZE:
        raise ValueError(f"cosignature: time {now} not in 1..2^63 - 1")
    match signer.kind:
        case KeyKind.ED25519:
            return sign_note(checkpoint.format(), signer)
        case KeyKind.COSIGNATURE:
            message = _ed25519_message(checkpoint, now)
        case KeyKind.SUBTREE:
            message = _checkpoint_message(signer.name, checkpoint, now)
        case _:
            assert_never(signer.kind)
    return _sign(signer, message, now)


def verify_cosignature(checkpoint: Checkpoint, line: SignatureLine, key: VerifierKey) -> int:
    """Return the time at which `key` signed the checkpoint, 0 if the signature names none.

    Raises:
        InvalidProofError: the line is no signature of this key over this checkpoint.
    """
    if key.kind is KeyKind.ED25519:
        verify_line(checkpoint.format(), line, key)
        return 0
    now = int.from_bytes(line.signature[:TIME_SIZE], "big")
    if len(line.signature) <= TIME_SIZE or now > MAX_SIZE:
        raise InvalidProofError(f"cosignature of {key.name}: no time, or one past 2^63 - 1")
    signature = line.signature[TIME_SIZE:]
    if key.kind is KeyKind.COSIGNATURE:
        verify_ed25519(key, signature, _ed25519_message(checkpoint, now))
    else:
        _verify_ml_dsa(key, signature, _checkpoint_message_of(key, checkpoint, now))
    return now


@dataclass(frozen=True, slots=True)
class Signed:
    """The latest signature of one key over a checkpoint; `time` is 0 if it names none."""

    time: int
    line: SignatureLine


def verify_signers(
    checkpoint: Checkpoint, note: Note, keys: Iterable[VerifierKey]
) -> dict[VerifierKey, Signed]:
    """Return which of `keys` signed the note of a checkpoint.

    Raises:
        InvalidProofError: a line of one of the keys does not verify, which spoils the note.
    """
    found: dict[VerifierKey, Signed] = {}
    for key in keys:
        for line in note.lines_of(key):
            time = verify_cosignature(checkpoint, line, key)
            if key not in found or time > found[key].time:
                found[key] = Signed(time, line)
    return found


def sign_subtree(origin: str, part: Subtree, signer: Signer) -> SignatureLine:
    """Sign a subtree of a log without a time, with an ML-DSA key."""
    if signer.kind is not KeyKind.SUBTREE:
        raise ValueError(f"signer {signer.name}: only ML-DSA signs a subtree")
    return _sign(signer, subtree_message(signer.name, 0, origin, part), 0)


def verify_subtree_cosignature(
    origin: str, part: Subtree, line: SignatureLine, key: VerifierKey
) -> None:
    """Return only if the line is the signature of `key` over a subtree, without a time.

    Raises:
        InvalidProofError: it is not.
    """
    if key.kind is not KeyKind.SUBTREE or line.signature[:TIME_SIZE] != bytes(TIME_SIZE):
        raise InvalidProofError(f"subtree cosignature of {key.name}: a time, or not ML-DSA")
    try:
        message = subtree_message(key.name, 0, origin, part)
    except ValueError as error:
        raise InvalidProofError("subtree cosignature: no subtree of a log") from error
    _verify_ml_dsa(key, line.signature[TIME_SIZE:], message)


def subtree_message(name: str, now: int, origin: str, part: Subtree) -> bytes:
    """Return what ML-DSA signs: the structure `cosigned_message`."""
    whole = part.start == 0 and 0 <= part.end <= MAX_SIZE
    if not whole and (now or not is_subtree(part.start, part.end)):
        raise ValueError(f"[{part.start}, {part.end}) is no subtree, or has a time")
    if len(part.hash) != HASH_SIZE:
        raise ValueError(f"subtree: a hash of {len(part.hash)} bytes, not {HASH_SIZE}")
    names = [_SUBTREE_LABEL, _label(name), now.to_bytes(8, "big"), _label(origin)]
    ends = [part.start.to_bytes(8, "big"), part.end.to_bytes(8, "big")]
    return b"".join([*names, *ends, part.hash])


def _sign(signer: Signer, message: bytes, now: int) -> SignatureLine:
    private: Ed25519PrivateKey | MLDSA44PrivateKey = signer.private
    signature = now.to_bytes(TIME_SIZE, "big") + private.sign(message)
    return SignatureLine(signer.name, signer.key.key_id, signature)


def _ed25519_message(checkpoint: Checkpoint, now: int) -> bytes:
    return f"cosignature/v1\ntime {now}\n{checkpoint.format()}".encode()


def _checkpoint_message(name: str, checkpoint: Checkpoint, now: int) -> bytes:
    whole = Subtree(0, checkpoint.size, checkpoint.root)
    return subtree_message(name, now, checkpoint.origin, whole)


def _checkpoint_message_of(key: VerifierKey, checkpoint: Checkpoint, now: int) -> bytes:
    try:
        return _checkpoint_message(key.name, checkpoint, now)
    except ValueError as error:
        raise InvalidProofError(f"cosignature of {key.name}: origin too long to sign") from error


def _verify_ml_dsa(key: VerifierKey, signature: bytes, message: bytes) -> None:
    try:
        MLDSA44PublicKey.from_public_bytes(key.public).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise InvalidProofError(f"signature of {key.name} does not hold") from error


def _label(text: str) -> bytes:
    data = text.encode()
    if not 1 <= len(data) <= MAX_LABEL:
        raise ValueError(f"a name of {len(data)} bytes, not 1 to {MAX_LABEL}")
    return bytes([len(data)]) + data
