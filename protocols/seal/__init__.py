"""Pairwise sealed channels between parties that reach each other through a relay only.

Message flow, once per run between any two parties:

    party -> all    announcement: ephemeral X25519 key, signed by the identity key
    both            verify, then derive one key per direction for every phase and attempt
    party -> party  frames, sealed with ChaCha20-Poly1305, numbered from 0 without a gap

Specifications: RFC 7748 (X25519), RFC 8032 (Ed25519), RFC 5869 (HKDF), RFC 8439
(ChaCha20-Poly1305).
"""

from protocols.seal.announcement import announce, verify_announcement
from protocols.seal.channel import Opener, Sealer
from protocols.seal.derivation import Pair, derive_mask_key, derive_pair

__all__ = [
    "Opener",
    "Pair",
    "Sealer",
    "announce",
    "derive_mask_key",
    "derive_pair",
    "verify_announcement",
]
