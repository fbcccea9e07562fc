"""Derive the two keys between a pair of parties for one attempt of one phase.

Why a nonce never repeats. The nonce of a frame is its sequence number, so a repeat would
need two sealers with the same key. A key is bound to direction, phase and attempt; one
phase of one party is one process, which builds one sealer per peer and counts up from 0;
and a phase that is run again is a new attempt. The caller must keep the attempt number
durably and raise it *before* it derives keys. A party that draws a new ephemeral key
for every phase is safe even against a mistake in that counting.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.seal.announcement import PUBLIC_KEY_SIZE
from protocols.seal.channel import KEY_SIZE, Opener, Sealer
from protocols.seal.fields import PLAN_HASH_SIZE, join_fields

_DOMAIN = b"lianfang seal pair v1"
_MASK_DOMAIN = b"lianfang seal mask v1"


@dataclass(frozen=True, slots=True)
class Pair:
    """Both ends of the channel that one party holds with one other party."""

    sealer: Sealer = field(repr=False)
    opener: Opener = field(repr=False)


def derive_pair(
    ephemeral_private: X25519PrivateKey,
    peer_public: bytes,
    *,
    run: str,
    plan_hash: bytes,
    ours: str,
    theirs: str,
    phase: str,
    attempt: int,
) -> Pair:
    """Agree on one key per direction with the announced key of `theirs`.

    `peer_public` is what `verify_announcement` returned, never a key that was not verified.
    `attempt` is 1 for the first run of the phase and never used twice with the same keys.

    Raises:
        MalformedMessageError: `peer_public` is not 32 bytes.
        InvalidProofError: it is a point of low order, for which anyone knows the secret.
    Source:
        RFC 7748, section 6.1 (X25519, zero check) and section 7 (public keys belong into
        the derivation); RFC 5869, sections 2.2 and 2.3.
    """
    label = join_fields(run.encode(), phase.encode(), attempt.to_bytes(8, "big"))
    keys = _derive(
        ephemeral_private, peer_public, plan_hash, (ours, theirs), (_DOMAIN, label, attempt)
    )
    rising, falling = keys[:KEY_SIZE], keys[KEY_SIZE:]
    send_key, receive_key = (rising, falling) if ours < theirs else (falling, rising)
    return Pair(
        Sealer(send_key, label, sender=ours, recipient=theirs),
        Opener(receive_key, label, sender=theirs, recipient=ours),
    )


def derive_mask_key(
    ephemeral_private: X25519PrivateKey,
    peer_public: bytes,
    *,
    run: str,
    plan_hash: bytes,
    ours: str,
    theirs: str,
    phase: str,
    attempt: int,
) -> bytes:
    """Agree on 32 bytes from which both members of a pair expand the same mask.

    Like the keys of `derive_pair`, from which these are independent: verified keys in, and an
    attempt that is never used twice, or two masked values would tell their difference.

    Raises:
        MalformedMessageError, InvalidProofError: as `derive_pair`.
    Source:
        RFC 7748, section 6.1; RFC 5869; Bonawitz et al. 2017 (eprint 2017/281), section 4.
    """
    label = join_fields(run.encode(), phase.encode(), attempt.to_bytes(8, "big"))
    keys = _derive(
        ephemeral_private, peer_public, plan_hash, (ours, theirs), (_MASK_DOMAIN, label, attempt)
    )
    return keys[:KEY_SIZE]


def _derive(
    ephemeral_private: X25519PrivateKey,
    peer_public: bytes,
    plan_hash: bytes,
    parties: tuple[str, str],
    purpose: tuple[bytes, bytes, int],
) -> bytes:
    """Derive two keys' worth of bytes for a pair; equal at both, bound to all that is named."""
    (ours, theirs), (domain, label, attempt) = parties, purpose
    if ours == theirs:
        raise ValueError("a channel joins two different parties")
    if attempt < 1:
        raise ValueError(f"attempt {attempt}, expected 1 or more")
    if len(plan_hash) != PLAN_HASH_SIZE:
        raise ValueError(f"plan hash of {len(plan_hash)} bytes, expected {PLAN_HASH_SIZE}")
    our_public = ephemeral_private.public_key().public_bytes_raw()
    (lower, lower_key), (higher, higher_key) = sorted([(ours, our_public), (theirs, peer_public)])
    info = join_fields(domain, label, lower.encode(), higher.encode(), lower_key, higher_key)
    return HKDF(SHA256(), 2 * KEY_SIZE, salt=plan_hash, info=info).derive(
        _exchange(ephemeral_private, peer_public, theirs)
    )


def _exchange(ephemeral_private: X25519PrivateKey, peer_public: bytes, theirs: str) -> bytes:
    if len(peer_public) != PUBLIC_KEY_SIZE:
        raise MalformedMessageError(
            f"public key of {theirs}: {len(peer_public)} bytes, expected {PUBLIC_KEY_SIZE}"
        )
    try:
        return ephemeral_private.exchange(X25519PublicKey.from_public_bytes(peer_public))
    except ValueError as error:
        # RFC 7748, section 6.1: "MAY check, without leaking extra information about the
        # value of K, whether K is the all-zero value and abort if so". Here it must.
        raise InvalidProofError(f"public key of {theirs}: point of low order") from error
