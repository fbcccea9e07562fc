"""What a record says about an identifier, in 32 bytes that always have the same layout.

    version (u8) || category (u8) || source (u8) || status (u8) || use (u8) || slot (u8)
    || flags (u8) || contributor (u16) || first (u16) || last (u16) || expires (u16)
    || reference (12) || zeros (5)

It says no more than a desk needs to ask the right questions: classes and months, never a
text, an amount or a day. A suspected victim stands in a slot of its own, and its payload
permits care and nothing else, so that no code can turn it into a mark against the person.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum, IntFlag
from typing import TypeVar

from protocols.errors import MalformedMessageError, UnsupportedParameterError

PAYLOAD_SIZE = 32
REFERENCE_SIZE = 12
MAX_CONTRIBUTOR = 65_535
MAX_MONTH = 11_999  # December 2999, the last that is written with a year of four digits

_LAYOUT = struct.Struct(">BBBBBBBHHHH12s5x")
_VERSION = 1
_CANARY = 1
_TAIPEI_OFFSET_S = 8 * 3600
_FIRST_YEAR = 2000


class Category(IntEnum):
    """What kind of fraud was reported. Numbers are never reused for another meaning."""

    INVESTMENT = 1
    IMPERSONATED_AUTHORITY = 2
    ROMANCE = 3
    SHOPPING = 4
    LOAN = 5
    JOB = 6
    IMPERSONATED_KIN = 7
    MULE_ACCOUNT = 8
    PHISHING = 9
    OTHER = 15


class SourceClass(IntEnum):
    """Who saw it, by class, never by name."""

    POLICE = 1
    HOTLINE_165 = 2
    TELECOM = 3
    BANK = 4
    INSURER = 5
    SIGHTING = 6


class Status(IntEnum):
    """How far the report has come; about half of raw reports are never confirmed."""

    REPORTED = 1
    CONFIRMED = 2
    WITHDRAWN = 3
    EXPIRED = 4


class Slot(IntEnum):
    """The side of the fraud; an identifier has one record at most per contributor and slot."""

    SUSPECT = 0
    VICTIM = 1  # suspected victim: for care and dissuasion only


class Use(IntFlag):
    """What the contributor permits a record to be used for."""

    COUNTER = 1
    SCREENING = 2
    CARE = 4


@dataclass(frozen=True, slots=True)
class Payload:
    """One report about one identifier.

    Args:
        contributor: number of the contributor in the epoch manifest, from 1.
        first, last: months in which the identifier was seen, counted from January 2000 = 0.
        expires: last month in which the record may be used.
        reference: the contributor's own handle of the report, random to everybody else.
        canary: the identifier belongs to nobody; who looks it up is guessing numbers.
    """

    category: Category
    source: SourceClass
    status: Status
    use: Use
    slot: Slot
    contributor: int
    first: int
    last: int
    expires: int
    reference: bytes = field(repr=False)
    canary: bool = False

    def encode(self) -> bytes:
        """Write the payload in 32 bytes.

        Raises:
            UnsupportedParameterError: the fields contradict each other or a rule.
        """
        if fault := _fault(self):
            raise UnsupportedParameterError(f"payload: {fault}")
        return _LAYOUT.pack(
            _VERSION,
            self.category,
            self.source,
            self.status,
            self.use,
            self.slot,
            _CANARY if self.canary else 0,
            self.contributor,
            self.first,
            self.last,
            self.expires,
            self.reference,
        )

    @classmethod
    def decode(cls, data: bytes) -> Payload:
        """Read a payload.

        Raises:
            MalformedMessageError: on any other byte string, a rule that is broken included.
        """
        if len(data) != PAYLOAD_SIZE:
            raise MalformedMessageError(f"payload: {len(data)} bytes, expected {PAYLOAD_SIZE}")
        version, category, source, status, use, slot, flags, *rest = _LAYOUT.unpack(data)
        contributor, first, last, expires, reference = rest
        if version != _VERSION:
            raise MalformedMessageError(f"payload: unknown version {version}")
        if flags & ~_CANARY or any(data[_LAYOUT.size - 5 :]):
            raise MalformedMessageError("payload: unknown flags, or padding that is not zero")
        found = cls(
            _member(Category, category),
            _member(SourceClass, source),
            _member(Status, status),
            Use(use),
            _member(Slot, slot),
            contributor,
            first,
            last,
            expires,
            reference,
            canary=flags == _CANARY,
        )
        if fault := _fault(found):
            raise MalformedMessageError(f"payload: {fault}")
        return found


def month_of(now: int) -> int:
    """Return the month in Taiwan at `now` (Unix seconds), counted from January 2000 = 0.

    Raises:
        UnsupportedParameterError: before January 2000 or after December 2999.
    """
    try:
        # Taiwan keeps UTC+8 all year, so no table of time zones is needed.
        date = datetime.fromtimestamp(now + _TAIPEI_OFFSET_S, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise UnsupportedParameterError("month: the time is out of range") from error
    month = 12 * (date.year - _FIRST_YEAR) + date.month - 1
    if not 0 <= month <= MAX_MONTH:
        raise UnsupportedParameterError("month: the time is not in the years 2000 to 2999")
    return month


def format_month(month: int) -> str:
    """Return a month as `2026-11`."""
    return f"{_FIRST_YEAR + month // 12}-{month % 12 + 1:02d}"


_Member = TypeVar("_Member", bound=IntEnum)


def _member(kind: type[_Member], number: int) -> _Member:
    try:
        return kind(number)
    except ValueError as error:
        raise MalformedMessageError(f"payload: unknown {kind.__name__} {number}") from error


def _fault(payload: Payload) -> str | None:
    """Name the first rule that a payload breaks."""
    if not 1 <= payload.contributor <= MAX_CONTRIBUTOR:
        return f"contributor {payload.contributor}, not in 1..{MAX_CONTRIBUTOR}"
    if not 0 <= payload.first <= payload.last <= payload.expires <= MAX_MONTH:
        return f"months, expected 0 <= first <= last <= expires <= {MAX_MONTH}"
    if len(payload.reference) != REFERENCE_SIZE:
        return f"reference of {len(payload.reference)} bytes, expected {REFERENCE_SIZE}"
    # An IntFlag takes any number, so unknown bits have to be refused by hand.
    if not payload.use or payload.use & ~sum(Use):
        return "use, expected at least one of counter, screening and care, and nothing else"
    if payload.slot is Slot.VICTIM and payload.use != Use.CARE:
        return "a suspected victim may carry no use but care"
    return None
