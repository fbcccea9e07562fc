"""A holder of a whole key: derive it, evaluate blinded elements, prove it.

Specification: RFC 9497, sections 3.2, 3.3.1 and 3.3.2.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from protocols.errors import UnsupportedParameterError
from protocols.group.encoding import decode_scalar
from protocols.group.interface import ELEMENT_SIZE, SCALAR_SIZE
from protocols.oprf import dleq
from protocols.oprf.client import finish_outputs
from protocols.oprf.suite import MAX_BATCH, Random, Suite, prefixed, random_scalars

SEED_SIZE = 32
_MAX_TRIES = 256


@dataclass(frozen=True, slots=True)
class EvaluationKey:
    """A secret scalar and its public element."""

    scalar: bytes = field(repr=False, compare=False)
    public: bytes


def load_key(suite: Suite, scalar: bytes) -> EvaluationKey:
    """Read a secret scalar and compute its public element."""
    scalar = decode_scalar(scalar, "secret key")
    return EvaluationKey(scalar, suite.group.multiply_base(scalar))


def derive_key(suite: Suite, seed: bytes, info: bytes) -> EvaluationKey:
    """Derive a key pair from 32 secret bytes and a public label.

    Source:
        RFC 9497, section 3.2.1, DeriveKeyPair.
    """
    if len(seed) != SEED_SIZE:
        raise UnsupportedParameterError(f"key seed: {len(seed)} bytes, need {SEED_SIZE}")
    for counter in range(_MAX_TRIES):
        message = seed + prefixed(info) + counter.to_bytes(1, "big")
        scalar = suite.hash_to_scalars([message], tag=b"DeriveKeyPair")
        if scalar != bytes(SCALAR_SIZE):
            return load_key(suite, scalar)
    raise UnsupportedParameterError("key seed: derives no key")


def generate_key(suite: Suite, random: Random) -> EvaluationKey:
    """Draw a fresh key pair (RFC 9497, section 3.2, GenerateKeyPair)."""
    return load_key(suite, random_scalars(suite.group, 1, random))


def blind_evaluate(suite: Suite, key: EvaluationKey, blinded: bytes) -> bytes:
    """Multiply every blinded element by the key.

    Raises:
        MalformedMessageError: an element is not canonical or is the identity.

    Source:
        RFC 9497, section 3.3.1, BlindEvaluate.
    """
    if not 1 <= len(blinded) // ELEMENT_SIZE <= MAX_BATCH:
        count = len(blinded) // ELEMENT_SIZE
        raise UnsupportedParameterError(f"batch: {count} elements, not in 1..{MAX_BATCH}")
    return suite.group.multiply(key.scalar, blinded, "blinded elements")


def blind_evaluate_verifiable(
    suite: Suite, key: EvaluationKey, blinded: bytes, *, random: Random, binding: bytes = b""
) -> tuple[bytes, bytes]:
    """Evaluate and prove; return the evaluated elements and the 64-byte proof.

    An empty `binding` gives the bytes of RFC 9497; `dleq` says when to pass one.

    Source:
        RFC 9497, section 3.3.2, BlindEvaluate.
    """
    evaluated = blind_evaluate(suite, key, blinded)
    return evaluated, prove_evaluation(
        suite, key, blinded, evaluated, random=random, binding=binding
    )


def prove_evaluation(
    suite: Suite,
    key: EvaluationKey,
    blinded: bytes,
    evaluated: bytes,
    *,
    random: Random,
    binding: bytes = b"",
) -> bytes:
    """Prove a batch that `blind_evaluate` has answered, with a fresh nonce."""
    return dleq.prove(
        suite,
        secret=key.scalar,
        public=key.public,
        blinded=blinded,
        evaluated=evaluated,
        nonce=random_scalars(suite.group, 1, random),
        binding=binding,
    )


def evaluate(suite: Suite, key: EvaluationKey, item: bytes) -> bytes:
    """Compute the output of one input in the clear (RFC 9497, section 3.3.1, Evaluate)."""
    element = suite.hash_to_group([item])
    return finish_outputs([item], suite.group.multiply(key.scalar, element, "hashed input"))[0]
