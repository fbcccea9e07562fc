"""Proof that one secret scalar links a public key and a whole batch of evaluations.

    prover                                   verifier
    M = sum d_i C_i,  Z = k M                M = sum d_i C_i,  Z = sum d_i D_i
    t2 = r G,  t3 = r M
    c = hash(B, M, Z, t2, t3)
    s = r - c k               -- c, s -->    c == hash(B, M, Z, s G + c B, s M + c Z)

In RFC 9497 the weight d_i hashes the key, i, C_i and D_i, but not the other pairs. A
holder may therefore search for errors that cancel in the weighted sum: a generalised
birthday search (Wagner 2002) over a batch of 2^a costs about 2^(a + 252/(a+1)) steps,
which is 2^31 for 65,536 elements. `binding` closes this: it enters every weight, and
`threshold` passes a hash of the whole batch with its epoch and request. An empty binding
gives the bytes of RFC 9497 and is for batches of one, or for a trusted holder.

Specification: RFC 9497, section 2.2.
"""

from __future__ import annotations

from hashlib import sha512

from protocols.errors import InvalidProofError, MalformedMessageError, UnsupportedParameterError
from protocols.group.encoding import decode_scalar, split_elements
from protocols.group.interface import ELEMENT_SIZE, SCALAR_SIZE
from protocols.oprf.suite import MAX_BATCH, Suite, prefixed

PROOF_SIZE = 2 * SCALAR_SIZE
# The framing of `prefixed` for an element.
_LENGTH = ELEMENT_SIZE.to_bytes(2, "big")


def prove(
    suite: Suite,
    *,
    secret: bytes,
    public: bytes,
    blinded: bytes,
    evaluated: bytes,
    nonce: bytes,
    binding: bytes = b"",
) -> bytes:
    """Prove that `public` and `evaluated` are `secret` times the generator and `blinded`.

    `nonce` is a fresh uniform scalar; used twice, it gives the secret away.

    Source:
        RFC 9497, section 2.2.1 (GenerateProof and ComputeCompositesFast).
    """
    group = suite.group
    weights = _weights(suite, public, blinded, evaluated, binding)
    mean = group.weighted_sum(weights, blinded, "blinded elements")  # M
    image = group.multiply(secret, mean, "composite")  # Z
    commitments = group.multiply_base(nonce), group.multiply(nonce, mean, "composite")  # t2, t3
    challenge = _challenge(suite, public, mean, image, *commitments)
    response = group.scalar_subtract(nonce, group.scalar_multiply(challenge, secret))
    return challenge + response


def verify(
    suite: Suite,
    *,
    public: bytes,
    blinded: bytes,
    evaluated: bytes,
    proof: bytes,
    binding: bytes = b"",
) -> None:
    """Return only if one scalar links `public` to the generator and every pair.

    Raises:
        MalformedMessageError: the proof or an element does not decode.
        InvalidProofError: the proof does not hold.

    Source:
        RFC 9497, section 2.2.2 (VerifyProof and ComputeComposites).
    """
    if len(proof) != PROOF_SIZE:
        raise MalformedMessageError(f"proof: {len(proof)} bytes, expected {PROOF_SIZE}")
    challenge = decode_scalar(proof[:SCALAR_SIZE], "proof challenge")
    response = decode_scalar(proof[SCALAR_SIZE:], "proof response")
    group = suite.group
    weights = _weights(suite, public, blinded, evaluated, binding)
    mean = group.weighted_sum(weights, blinded, "blinded elements")  # M
    image = group.weighted_sum(weights, evaluated, "evaluated elements")  # Z
    base = group.multiply_base(response)
    first = group.add(base, group.multiply(challenge, public, "public key"))  # s G + c B
    pair = group.multiply_each(response + challenge, mean + image, "composite")
    second = group.add(pair[:ELEMENT_SIZE], pair[ELEMENT_SIZE:])  # s M + c Z
    # Everything compared here is public, so an ordinary comparison tells nothing.
    if _challenge(suite, public, mean, image, first, second) != challenge:
        raise InvalidProofError("proof: does not verify for this key and batch")


def _weights(
    suite: Suite, public: bytes, blinded: bytes, evaluated: bytes, binding: bytes
) -> bytes:
    """Hash the pairs to their weights d_i (RFC 9497, section 2.2.1, ComputeComposites)."""
    if len(blinded) != len(evaluated):
        raise MalformedMessageError(
            f"evaluated elements: {len(evaluated)} bytes, expected {len(blinded)}"
        )
    if not 1 <= len(blinded) // ELEMENT_SIZE <= MAX_BATCH:
        count = len(blinded) // ELEMENT_SIZE
        raise UnsupportedParameterError(f"batch: {count} elements, not in 1..{MAX_BATCH}")
    seed_input = prefixed(public) + prefixed(b"Seed-" + suite.context)
    if binding:
        seed_input += prefixed(binding)
    seed = prefixed(sha512(seed_input).digest())
    pairs = zip(split_elements(blinded), split_elements(evaluated), strict=True)
    return suite.hash_to_scalars(
        [
            index.to_bytes(2, "big") + _LENGTH + before + _LENGTH + after
            for index, (before, after) in enumerate(pairs)
        ],
        prefix=seed,
        suffix=b"Composite",
    )


def _challenge(suite: Suite, *elements: bytes) -> bytes:
    transcript = b"".join(prefixed(element) for element in elements) + b"Challenge"
    return suite.hash_to_scalars([transcript])
