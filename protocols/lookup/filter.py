"""The tags of a table, cut short and packed: 2.7 MB for a million records.

    filter = version (u8) || rate_bits (u8) || count (u32) || quotients || remainders

Of each tag the first `rate_bits + ceil(log2 count)` bits are kept, so that a tag which is
not in the table is found by accident with probability 2 ** -rate_bits at most. The sorted
values are Golomb-Rice coded: of each gap to the value before, less one, the part above
`rate_bits` is written in unary, as ones and a final zero, and the rest in binary. The two
parts stand in streams of their own, so that numpy decodes all values at once.

No contributor signs a filter: it can be used to find what to look up first, never to
conclude that an identifier has no record. That takes the table, or a verified bucket.

Source:
    Golomb 1966; Rice 1979; as a set: BIP 158, section "Golomb-Coded Sets".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from protocols.codec import Reader, Writer
from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.lookup.derivation import TAG_SIZE

VERSION = 1
DEFAULT_RATE_BITS = 20
MAX_RATE_BITS = 32
_CHUNK = 65_536  # a multiple of 8: the bits of a piece of remainders fill whole bytes
_SUBJECT = "tag filter"
_Bits = NDArray[np.uint8]  # one bit in each
_Values = NDArray[np.uint64]


def build(prefixes: NDArray[np.uint64], *, rate_bits: int = DEFAULT_RATE_BITS) -> bytes:
    """Pack the tags of a table, given as `table.tag_prefixes`, in any order.

    Raises:
        UnsupportedParameterError: `rate_bits` is not in 1..32.
    """
    if not 1 <= rate_bits <= MAX_RATE_BITS:
        raise UnsupportedParameterError(f"rate bits: {rate_bits}, not in 1..{MAX_RATE_BITS}")
    bits = _value_bits(len(prefixes), rate_bits)
    values = _distinct(_cut(prefixes, bits))
    while (needed := _value_bits(len(values), rate_bits)) < bits:
        # Tags that became equal left so few values that fewer bits do.
        bits = needed
        values = _distinct(_cut(prefixes, bits))
    gaps = _gaps(values)
    del values  # ten million tags take 80 MB in each form
    head = (
        Writer().u8(VERSION).u8(rate_bits).u32(len(gaps)).block(b"".join(_unary(gaps, rate_bits)))
    )
    return head.block(b"".join(_binary(gaps, rate_bits))).encode()


@dataclass(frozen=True, slots=True, eq=False)
class TagFilter:
    """A decoded filter: a sorted array of cut tags."""

    rate_bits: int
    values: NDArray[np.uint64] = field(repr=False)

    @classmethod
    def decode(cls, data: bytes) -> TagFilter:
        """Read a filter; every set of values has exactly one encoding.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        reader = Reader(data, _SUBJECT)
        if (version := reader.u8()) != VERSION:
            raise MalformedMessageError(f"{_SUBJECT}: version {version}, expected {VERSION}")
        if not 1 <= (rate_bits := reader.u8()) <= MAX_RATE_BITS:
            raise MalformedMessageError(
                f"{_SUBJECT}: rate bits {rate_bits}, not in 1..{MAX_RATE_BITS}"
            )
        count, unary, binary = reader.u32(), reader.block(), reader.block()
        reader.finish()
        remainders = _read_binary(binary, count, rate_bits)
        quotients = _read_unary(unary, count)
        # In Python's integers, since the sum of gaps that are too large would wrap around.
        last = (int(quotients.sum()) << rate_bits) + int(remainders.sum()) + max(count - 1, 0)
        if last >> _value_bits(count, rate_bits):
            raise MalformedMessageError(f"{_SUBJECT}: a value is out of range")
        steps = (quotients << np.uint64(rate_bits)) + remainders
        steps[1:] += np.uint64(1)
        return cls(rate_bits, np.cumsum(steps, dtype=np.uint64))

    def __len__(self) -> int:
        return len(self.values)

    def __contains__(self, tag: object) -> bool:
        if not isinstance(tag, bytes) or len(tag) != TAG_SIZE:
            return False
        return bool(self.matches(np.array([int.from_bytes(tag[:8], "big")], np.uint64))[0])

    def matches(self, prefixes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Report for the first eight bytes of each tag whether the set may have it.

        Shapes:
            prefixes, result: any shape, the same.
        """
        if not len(self.values):
            return np.zeros(prefixes.shape, np.bool_)
        wanted = _cut(prefixes, _value_bits(len(self.values), self.rate_bits))
        at = np.minimum(np.searchsorted(self.values, wanted), len(self.values) - 1)
        return np.asarray(self.values[at] == wanted, np.bool_)


def _value_bits(count: int, rate_bits: int) -> int:
    return rate_bits + max(count - 1, 0).bit_length()


def _cut(prefixes: _Values, bits: int) -> _Values:
    return prefixes >> np.uint64(64 - bits)


def _distinct(values: _Values) -> _Values:
    # The tags of a table are sorted already, which this sort notices; numpy.unique does not.
    values.sort(kind="stable")
    is_first = np.ones(len(values), np.bool_)
    is_first[1:] = values[1:] != values[:-1]
    return values[is_first]


def _gaps(values: _Values) -> _Values:
    """Return the first value, then of each other one its distance to the one before, less one."""
    gaps = values.copy()
    gaps[1:] -= values[:-1]
    gaps[1:] -= np.uint64(1)
    return gaps


def _unary(gaps: _Values, rate_bits: int) -> Iterator[bytes]:
    left = np.empty(0, np.uint8)  # bits that do not fill a byte yet
    for start in range(0, len(gaps), _CHUNK):
        quotients = (gaps[start : start + _CHUNK] >> np.uint64(rate_bits)).astype(np.int64)
        ends = np.cumsum(quotients + 1) - 1 + len(left)
        bits = np.ones(int(ends[-1]) + 1, np.uint8)
        bits[: len(left)] = left
        bits[ends] = 0
        whole = len(bits) // 8 * 8
        yield np.packbits(bits[:whole]).tobytes()
        left = bits[whole:].copy()
    if len(left):
        # The last byte is filled with ones, which cannot be taken for the end of a number.
        filled = np.ones(8, np.uint8)
        filled[: len(left)] = left
        yield np.packbits(filled).tobytes()


def _read_unary(data: bytes, count: int) -> _Values:
    if len(data) * 8 > 3 * count + 8:
        # The quotients of rising values below 2 ** bits sum up to 2 * count at most.
        raise MalformedMessageError(f"{_SUBJECT}: {len(data)} bytes of quotients for {count}")
    ends = np.flatnonzero(np.unpackbits(np.frombuffer(data, np.uint8)) == 0)
    used = int(ends[-1]) + 1 if len(ends) else 0
    if len(ends) != count or len(data) != -(-used // 8):
        raise MalformedMessageError(
            f"{_SUBJECT}: {len(ends)} quotients in {len(data)} bytes, expected {count}"
        )
    return (np.diff(ends, prepend=-1) - 1).astype(np.uint64)


def _binary(gaps: _Values, rate_bits: int) -> Iterator[bytes]:
    for start in range(0, len(gaps), _CHUNK):
        piece = gaps[start : start + _CHUNK, np.newaxis].astype(">u8").view(np.uint8)
        yield np.packbits(np.unpackbits(piece, axis=1)[:, 64 - rate_bits :]).tobytes()


def _read_binary(data: bytes, count: int, rate_bits: int) -> _Values:
    if len(data) != -(-count * rate_bits // 8):
        raise MalformedMessageError(f"{_SUBJECT}: {len(data)} bytes of remainders for {count}")
    if data and data[-1] & ((1 << (-count * rate_bits % 8)) - 1):
        raise MalformedMessageError(f"{_SUBJECT}: padding is not zero")
    values = np.empty(count, np.uint64)
    weights = np.uint64(1) << np.arange(rate_bits, dtype=np.uint64)[::-1]
    for start in range(0, count, _CHUNK):
        size = min(_CHUNK, count - start)
        first = start * rate_bits // 8
        packed = np.frombuffer(data, np.uint8)[first : first + -(-size * rate_bits // 8)]
        bits = np.unpackbits(packed, count=size * rate_bits).reshape(size, rate_bits)
        values[start : start + size] = bits.astype(np.uint64) @ weights
    return values
