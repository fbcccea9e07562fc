"""What partners and the hub write to each other while they align.

    partner -> hub      PseudonymSet    sorted, so that the order says nothing
    hub     -> partner  RowNumbers      one number for each pseudonym, in the order sent
                        Refusal         or the reason why there is no alignment

A set in strictly rising order has no duplicates and exactly one encoding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from protocols.align.pseudonyms import PSEUDONYM_SIZE, Pseudonyms
from protocols.codec import Reader, Writer
from protocols.errors import MalformedMessageError

MAX_ROWS = 2**31 - 1
ABSENT = -1  # the row number of a pseudonym that takes no part
_SET, _ROWS, _REFUSAL = 1, 2, 3


class RefusalReason(IntEnum):
    """Why the hub gave no rows; all that partners learn of it. Numbers are never reused."""

    MALFORMED_SET = 1
    TOO_MANY_ROWS = 2
    TOO_FEW_ROWS = 3
    NO_OVERLAP = 4


@dataclass(frozen=True, slots=True)
class PseudonymSet:
    """The pseudonyms of one partner.

    Shapes:
        pseudonyms: (count, 16), rows in strictly rising order of their bytes.
    """

    pseudonyms: Pseudonyms = field(repr=False)

    def encode(self) -> bytes:
        """Write `1 (u8) || count (u32) || count x 16 bytes`."""
        count = len(self.pseudonyms)
        return Writer().u8(_SET).u32(count).encode() + self.pseudonyms.tobytes()

    @classmethod
    def decode(cls, data: bytes) -> PseudonymSet:
        """Read a set; nothing may follow.

        Raises:
            MalformedMessageError: on any other byte string, an unsorted set included.
        """
        reader = _opened(data, "pseudonym set", _SET)
        count = reader.u32()
        body = reader.take(count * PSEUDONYM_SIZE)
        reader.finish()
        rows = np.frombuffer(body, dtype=np.uint8).reshape(-1, PSEUDONYM_SIZE)
        if not is_rising(rows):
            raise MalformedMessageError("pseudonym set: not in strictly rising order")
        return cls(rows)


@dataclass(frozen=True, slots=True)
class RowNumbers:
    """Where a partner's pseudonyms stand in the joint table.

    Shapes:
        rows: (count,) int32, different numbers in 0..total-1, or `ABSENT`.
    """

    total: int
    rows: NDArray[np.int32] = field(repr=False)

    def encode(self) -> bytes:
        """Write `2 (u8) || total (u32) || count (u32) || count x int32, little-endian`."""
        head = Writer().u8(_ROWS).u32(self.total).u32(len(self.rows)).encode()
        return head + self.rows.astype("<i4", copy=False).tobytes()

    @classmethod
    def decode(cls, data: bytes) -> RowNumbers:
        """Read row numbers; nothing may follow.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        reader = _opened(data, "row numbers", _ROWS)
        total, count = reader.u32(), reader.u32()
        body = reader.take(count * 4)
        reader.finish()
        rows = np.frombuffer(body, dtype="<i4").astype(np.int32)
        if total > MAX_ROWS or count > total + np.count_nonzero(rows == ABSENT):
            raise MalformedMessageError(f"row numbers: total {total} does not fit {count} rows")
        if count and (rows.min() < ABSENT or rows.max() >= total):
            raise MalformedMessageError(f"row numbers: a number outside of 0..{total - 1}")
        present = rows[rows != ABSENT]
        if len(np.unique(present)) != len(present):
            raise MalformedMessageError("row numbers: one number given twice")
        return cls(total, rows)


@dataclass(frozen=True, slots=True)
class Refusal:
    """There is no alignment."""

    reason: RefusalReason

    def encode(self) -> bytes:
        """Write `3 (u8) || reason (u8)`."""
        return Writer().u8(_REFUSAL).u8(self.reason).encode()

    @classmethod
    def decode(cls, data: bytes) -> Refusal:
        """Read a refusal; nothing may follow.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        reader = _opened(data, "refusal", _REFUSAL)
        number = reader.u8()
        reader.finish()
        try:
            return cls(RefusalReason(number))
        except ValueError as error:
            raise MalformedMessageError(f"refusal: unknown reason {number}") from error


def decode_answer(data: bytes) -> RowNumbers | Refusal:
    """Read what the hub answers to a set.

    Raises:
        MalformedMessageError: on any other byte string.
    """
    if data[:1] == bytes([_REFUSAL]):
        return Refusal.decode(data)
    return RowNumbers.decode(data)


def is_rising(rows: Pseudonyms) -> bool:
    """Whether the rows rise strictly in the order of their bytes."""
    high, low = halves(rows)
    above = (high[1:] > high[:-1]) | ((high[1:] == high[:-1]) & (low[1:] > low[:-1]))
    return bool(above.all())


def halves(rows: Pseudonyms) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return each pseudonym as two numbers, which compare as its bytes do."""
    words = np.ascontiguousarray(rows).view(">u8").astype(np.uint64)  # (count, 2)
    return words[:, 0], words[:, 1]


def _opened(data: bytes, subject: str, kind: int) -> Reader:
    reader = Reader(data, subject)
    found = reader.u8()
    if found != kind:
        raise MalformedMessageError(f"{subject}: kind {found}, expected {kind}")
    return reader
