"""Announce an ephemeral key under the long-term identity of its party.

The relay carries announcements and could swap keys if they were not signed. The signature
covers run, plan hash and party, so that an announcement cannot be moved to another run,
to a changed plan, or to another party.

Wire format: `ephemeral public key (32) || Ed25519 signature (64)`. Run, plan hash and party
are not sent: the verifier signs for what it expects, not for what it is told.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.seal.fields import PLAN_HASH_SIZE, join_fields

PUBLIC_KEY_SIZE = 32
SIGNATURE_SIZE = 64
ANNOUNCEMENT_SIZE = PUBLIC_KEY_SIZE + SIGNATURE_SIZE
_DOMAIN = b"lianfang seal announcement v1"


def announce(
    identity_private: Ed25519PrivateKey,
    run: str,
    plan_hash: bytes,
    party: str,
    ephemeral_public: bytes,
) -> bytes:
    """Sign an ephemeral X25519 public key for one run of one plan.

    Source:
        RFC 8032, section 5.1.6 (Ed25519 signature).
    """
    signed = _signed_part(run, plan_hash, party, ephemeral_public)
    return ephemeral_public + identity_private.sign(signed)


def verify_announcement(
    identity_public: Ed25519PublicKey,
    run: str,
    plan_hash: bytes,
    party: str,
    announcement: bytes,
) -> bytes:
    """Return the ephemeral public key that `party` announced for this run and plan.

    Raises:
        MalformedMessageError: not an announcement at all.
        InvalidProofError: signed by another key, or for another run, plan or party.
    Source:
        RFC 8032, section 5.1.7.
    """
    if len(announcement) != ANNOUNCEMENT_SIZE:
        raise MalformedMessageError(
            f"announcement: {len(announcement)} bytes, expected {ANNOUNCEMENT_SIZE}"
        )
    ephemeral_public = announcement[:PUBLIC_KEY_SIZE]
    signed = _signed_part(run, plan_hash, party, ephemeral_public)
    try:
        identity_public.verify(announcement[PUBLIC_KEY_SIZE:], signed)
    except InvalidSignature as error:
        raise InvalidProofError(
            f"announcement of {party}: signature does not hold for this run and plan"
        ) from error
    return ephemeral_public


def _signed_part(run: str, plan_hash: bytes, party: str, ephemeral_public: bytes) -> bytes:
    if len(plan_hash) != PLAN_HASH_SIZE:
        raise ValueError(f"plan hash of {len(plan_hash)} bytes, expected {PLAN_HASH_SIZE}")
    if len(ephemeral_public) != PUBLIC_KEY_SIZE:
        raise ValueError(f"public key of {len(ephemeral_public)} bytes, expected {PUBLIC_KEY_SIZE}")
    return join_fields(_DOMAIN, run.encode(), plan_hash, party.encode(), ephemeral_public)
