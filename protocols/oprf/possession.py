"""Proof that a dealer knows the scalar behind its public element, for one place in one set-up.

Without it the last dealer could publish X minus the sum of the others and own the key X.

Source:
    Schnorr 1991, as Komlo and Goldberg 2020 (FROST), figure 1, round 1, use it; the hash
    is that of RFC 9497, section 4.1, under its own tag.
"""

from __future__ import annotations

from protocols.group.encoding import decode_scalar
from protocols.group.interface import SCALAR_SIZE
from protocols.oprf.errors import RogueHolderError
from protocols.oprf.suite import Random, Suite, prefixed, random_scalars

_TAG = b"LianfangPossession-"


def prove_possession(
    suite: Suite, secret: bytes, public: bytes, label: bytes, random: Random
) -> bytes:
    """Return `challenge || response` for `public = secret G` under `label`."""
    group = suite.group
    nonce = random_scalars(group, 1, random)
    challenge = _challenge(suite, public, label, group.multiply_base(nonce))
    return challenge + group.scalar_subtract(nonce, group.scalar_multiply(challenge, secret))


def verify_possession(suite: Suite, public: bytes, label: bytes, proof: bytes) -> None:
    """Return only if the prover knew the scalar of `public` and meant `label`.

    Raises:
        MalformedMessageError: the proof does not decode.
        RogueHolderError: it does not verify.
    """
    challenge = decode_scalar(proof[:SCALAR_SIZE], "possession challenge")
    response = decode_scalar(proof[SCALAR_SIZE:], "possession response")
    group = suite.group
    commitment = group.add(
        group.multiply_base(response), group.multiply(challenge, public, "commitment")
    )
    if _challenge(suite, public, label, commitment) != challenge:
        raise RogueHolderError("does not prove that it knows its part of the key")


def _challenge(suite: Suite, public: bytes, label: bytes, commitment: bytes) -> bytes:
    return suite.hash_to_scalars([prefixed(label) + prefixed(public) + prefixed(commitment)], _TAG)
