"""The client's side: blind inputs, check the holder's proof, finish the outputs.

    blind         B_i = r_i H(x_i)                      -> holder
    (holder)      Z_i = k B_i, proof                    <-
    finalize      y_i = hash(x_i, Z_i / r_i)

The blinds are an argument: uniform ones hide an input from everybody for ever, derived
ones let the client show later, to an auditor, what a logged B_i asked.

Specification: RFC 9497, sections 3.3.1 and 3.3.2.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from hashlib import sha512

from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.group.encoding import decode_scalars, split_elements
from protocols.group.interface import ELEMENT_SIZE, SCALAR_SIZE
from protocols.oprf import dleq
from protocols.oprf.suite import MAX_BATCH, Random, Suite, prefixed, random_scalars

OUTPUT_SIZE = 64
OPENING_KEY_SIZE = 32
# The framing of `prefixed` for an element.
_LENGTH = ELEMENT_SIZE.to_bytes(2, "big")
_OPENABLE = b"lianfang/oprf/openable-blind/v1"


def random_blinds(suite: Suite, count: int, random: Random) -> bytes:
    """Draw one blind for each of `count` inputs."""
    return random_scalars(suite.group, count, random)


def derive_blinds(suite: Suite, key: bytes, request_id: bytes, count: int) -> bytes:
    """Derive the blinds of an openable request.

    `key` is 32 secret bytes that the client keeps for as long as the request may be
    audited; `request_id` is unique for it, since equal blinds would link two requests.

    Privacy:
        To anyone without `key` the blinds look uniform (HMAC-SHA512 as a pseudorandom
        function). Whoever holds it can test guesses of an input against a logged request.
    """
    if len(key) != OPENING_KEY_SIZE:
        raise UnsupportedParameterError(f"opening key: {len(key)} bytes, need {OPENING_KEY_SIZE}")
    label = _OPENABLE + prefixed(request_id)
    uniform = (hmac.digest(key, label + i.to_bytes(4, "big"), sha512) for i in range(count))
    return decode_scalars(suite.group.reduce(b"".join(uniform)), "derived blind")


def blind(suite: Suite, inputs: Sequence[bytes], blinds: bytes) -> bytes:
    """Return the blinded elements, one for each input.

    Privacy:
        With uniform blinds the result is independent of the inputs, whatever the holders
        compute and however long (RFC 9497, section 7.1, unconditional input secrecy).

    Source:
        RFC 9497, section 3.3.1, Blind. An input that hashes to the identity is refused.
    """
    _require_blinds(inputs, blinds)
    return suite.group.multiply_each(blinds, suite.hash_to_group(inputs), "hashed inputs")


def finalize(suite: Suite, inputs: Sequence[bytes], blinds: bytes, evaluated: bytes) -> list[bytes]:
    """Return the 64-byte outputs; the caller has checked where `evaluated` comes from.

    Source:
        RFC 9497, section 3.3.1, Finalize.
    """
    _require_blinds(inputs, blinds)
    if len(evaluated) != ELEMENT_SIZE * len(inputs):
        raise MalformedMessageError(
            f"evaluated elements: {len(evaluated)} bytes, "
            f"expected {ELEMENT_SIZE * len(inputs)} for {len(inputs)} inputs"
        )
    inverses = suite.group.invert(blinds)
    unblinded = suite.group.multiply_each(inverses, evaluated, "evaluated elements")
    return finish_outputs(inputs, unblinded)


def finalize_verified(
    suite: Suite,
    inputs: Sequence[bytes],
    blinds: bytes,
    *,
    public: bytes,
    blinded: bytes,
    evaluated: bytes,
    proof: bytes,
) -> list[bytes]:
    """Check the holder's proof, then return the outputs.

    Raises:
        InvalidProofError: the holder used another key than `public`.

    Source:
        RFC 9497, section 3.3.2, Finalize.
    """
    dleq.verify(suite, public=public, blinded=blinded, evaluated=evaluated, proof=proof)
    return finalize(suite, inputs, blinds, evaluated)


def finish_outputs(inputs: Sequence[bytes], unblinded: bytes) -> list[bytes]:
    """Hash each input with its unblinded element (RFC 9497, section 3.3.1, Finalize)."""
    pairs = zip(inputs, split_elements(unblinded), strict=True)
    return [
        sha512(prefixed(item) + _LENGTH + element + b"Finalize").digest() for item, element in pairs
    ]


def _require_blinds(inputs: Sequence[bytes], blinds: bytes) -> None:
    if not 1 <= len(inputs) <= MAX_BATCH:
        raise UnsupportedParameterError(f"batch: {len(inputs)} inputs, not in 1..{MAX_BATCH}")
    if len(blinds) != SCALAR_SIZE * len(inputs):
        raise UnsupportedParameterError(
            f"blinds: {len(blinds)} bytes for {len(inputs)} inputs, need {SCALAR_SIZE} each"
        )
