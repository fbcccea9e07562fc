"""Strict reading of scalars and sizes; elements are judged by the backend that uses them."""

from __future__ import annotations

from protocols.errors import MalformedMessageError
from protocols.group.interface import ELEMENT_SIZE, ORDER, SCALAR_SIZE


def decode_scalar(data: bytes, subject: str) -> bytes:
    """Return the canonical scalar in `data`.

    Raises:
        MalformedMessageError: another length, not below the group order, or zero.

    Source:
        RFC 9497, section 4.1, DeserializeScalar. Zero is refused beyond its text: as a key,
        a blind or half a proof it only ever helps an attacker (erratum 8392).
    """
    if len(data) != SCALAR_SIZE:
        raise MalformedMessageError(f"{subject}: {len(data)} bytes, expected {SCALAR_SIZE}")
    if not 0 < int.from_bytes(data, "little") < ORDER:
        raise MalformedMessageError(f"{subject}: not a canonical non-zero scalar")
    return bytes(data)


def decode_scalars(data: bytes, subject: str) -> bytes:
    """Return a batch of canonical non-zero scalars.

    Raises:
        MalformedMessageError: as `decode_scalar`, for the first one that fails.
    """
    for index in range(count_of(data, SCALAR_SIZE, subject)):
        decode_scalar(data[SCALAR_SIZE * index : SCALAR_SIZE * (index + 1)], f"{subject} {index}")
    return bytes(data)


def encode_scalar(value: int) -> bytes:
    """Encode a public integer, reduced by the group order (RFC 9496, section 4.4).

    Python integers take longer for larger values, so no secret may pass here.
    """
    return (value % ORDER).to_bytes(SCALAR_SIZE, "little")


def count_of(data: bytes, size: int, subject: str) -> int:
    """Return how many items of `size` bytes a batch holds.

    Raises:
        MalformedMessageError: the last one is cut short.
    """
    if len(data) % size:
        raise MalformedMessageError(f"{subject}: {len(data)} bytes, expected a multiple of {size}")
    return len(data) // size


def refused_item(subject: str, index: int) -> MalformedMessageError:
    """Return the error for item `index` of a batch; every backend says it in these words."""
    return MalformedMessageError(
        f"{subject}: item {index} is not canonical, or is the identity or zero"
    )


def split_elements(elements: bytes) -> list[bytes]:
    """Cut a batch into its elements."""
    return [elements[i : i + ELEMENT_SIZE] for i in range(0, len(elements), ELEMENT_SIZE)]
