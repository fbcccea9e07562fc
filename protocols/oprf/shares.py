"""Shamir shares of a scalar and Feldman's commitments to them.

A polynomial f of degree t - 1 over the scalars hides f(0); holder i, counted from 1, has
f(i), and a_k G commits to every coefficient a_k, so that anyone can compute f(i) G. Secret
arithmetic goes through the group's constant-time scalars; indices and interpolation
weights are public and are plain integers.

Source:
    Shamir 1979; Feldman 1987; in the notation of RFC 9591, appendices C.1 and C.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import lcm, prod

from protocols.errors import UnsupportedParameterError
from protocols.group.encoding import encode_scalar
from protocols.group.interface import ELEMENT_SIZE, IDENTITY, ORDER, SCALAR_SIZE, Group
from protocols.oprf.suite import Random, random_scalars

MIN_THRESHOLD = 2
MAX_HOLDERS = 255


def require_threshold(threshold: int, holders: int) -> None:
    """Refuse a sharing in which one holder could answer alone, or none could.

    Raises:
        UnsupportedParameterError: unless 2 <= threshold <= holders <= 255.
    """
    if not MIN_THRESHOLD <= threshold <= holders <= MAX_HOLDERS:
        raise UnsupportedParameterError(
            f"threshold: {threshold} of {holders} holders, "
            f"need {MIN_THRESHOLD} <= threshold <= holders <= {MAX_HOLDERS}"
        )


def split_secret(
    group: Group, secret: bytes, *, threshold: int, holders: int, random: Random
) -> list[bytes]:
    """Split a known secret into one share for each holder; any `threshold` rebuild it."""
    require_threshold(threshold, holders)
    coefficients = secret + random_scalars(group, threshold - 1, random)
    return [share_at(group, coefficients, index) for index in range(1, holders + 1)]


def share_at(group: Group, coefficients: bytes, index: int, *, first_power: int = 0) -> bytes:
    """Evaluate the polynomial at `index` in constant time (Horner's rule).

    Coefficients go from the lowest power to the highest and start at `first_power`; a
    start at 1 forces the value at zero to be zero.
    """
    point = encode_scalar(index)
    value = bytes(SCALAR_SIZE)
    for at in range(len(coefficients) - SCALAR_SIZE, -1, -SCALAR_SIZE):
        value = group.scalar_multiply(value, point)
        value = group.scalar_add(value, coefficients[at : at + SCALAR_SIZE])
    return group.scalar_multiply(value, point) if first_power else value


def public_share_at(group: Group, commitments: bytes, index: int, *, first_power: int = 0) -> bytes:
    """Evaluate the committed polynomial at `index`: the public side of `share_at`."""
    count = len(commitments) // ELEMENT_SIZE
    powers = (encode_scalar(pow(index, first_power + k, ORDER)) for k in range(count))
    return group.weighted_sum(b"".join(powers), commitments, "commitments")


def lagrange_weights(indices: Sequence[int], at: int = 0) -> tuple[list[int], int]:
    """Return integers c_j and a denominator d, so that f(at) = sum c_j f(j) / d.

    Small whole numbers, and not residues, because a multiple like 2 Z costs one addition
    and a residue a whole scalar multiplication for every element of a batch.
    """
    weights = [
        prod(
            (Fraction(at - other, index - other) for other in indices if other != index),
            start=Fraction(1),
        )
        for index in indices
    ]
    denominator = lcm(*(weight.denominator for weight in weights))
    return [int(weight * denominator) for weight in weights], denominator


def interpolate(group: Group, indices: Sequence[int], elements: bytes, at: int = 0) -> bytes:
    """Interpolate public elements f(j) G to f(at) G."""
    weights, denominator = lagrange_weights(indices, at)
    inverse = pow(denominator, -1, ORDER)
    scalars = b"".join(encode_scalar(weight * inverse) for weight in weights)
    return group.weighted_sum(scalars, elements, "public shares")


def small_sum(group: Group, weights: Sequence[int], batches: Sequence[bytes]) -> bytes:
    """Add up batches of elements, each times one public integer, element by element.

    All batches share the doublings (Straus 1964). Once the integers are so large that
    this costs more additions than plain multiplication would, it multiplies.
    """
    bits = max(weight.bit_length() for weight in map(abs, weights))
    additions = bits - 2 + sum(abs(weight).bit_count() for weight in weights)
    # One scalar multiplication takes as long as three additions on the reference backend.
    if additions > 4 * len(weights) - 1:
        return _full_sum(group, weights, batches)
    total = b""
    for bit in reversed(range(bits)):
        total = group.add(total, total)
        for weight, batch in zip(weights, batches, strict=True):
            if abs(weight) >> bit & 1:
                total = _plus(group, total, batch) if weight > 0 else _minus(group, total, batch)
    return total


def _plus(group: Group, total: bytes, batch: bytes) -> bytes:
    return group.add(total, batch) if total else batch


def _minus(group: Group, total: bytes, batch: bytes) -> bytes:
    return group.subtract(total or IDENTITY * (len(batch) // ELEMENT_SIZE), batch)


def _full_sum(group: Group, weights: Sequence[int], batches: Sequence[bytes]) -> bytes:
    terms = [
        group.multiply(encode_scalar(weight), batch, "evaluated elements")
        for weight, batch in zip(weights, batches, strict=True)
    ]
    total = terms[0]
    for term in terms[1:]:
        total = group.add(total, term)
    return total
