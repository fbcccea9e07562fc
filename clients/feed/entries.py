"""What the register seals of a report, in bytes."""

from __future__ import annotations

from dataclasses import dataclass, field

from clients.feed.reports import Report
from protocols.codec import Reader, Writer
from protocols.lookup.payload import MAX_MONTH, Category, SourceClass, Status, Use

_VERSION = 1
_NO_MONTH = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Details:
    """The part of a report that its contributor may correct while it stands."""

    report_id: str = field(repr=False)
    category: Category
    source: SourceClass
    use: Use
    first: int
    last: int
    until: int | None
    canary: bool

    @classmethod
    def of(cls, report: Report) -> Details:
        """Take them out of a report."""
        return cls(
            report.report_id, report.category, report.source, report.use,
            report.first, report.last, report.until, report.canary,
        )  # fmt: skip

    def encode(self) -> bytes:
        """Write them."""
        out = Writer().u8(_VERSION).text(self.report_id)
        out.u8(self.category).u8(self.source).u8(self.use).u8(self.canary)
        until = _NO_MONTH if self.until is None else self.until
        return out.u32(self.first).u32(self.last).u32(until).encode()

    @classmethod
    def decode(cls, data: bytes) -> Details:
        """Read what `encode` wrote; the seal around it has shown that it is unchanged."""
        reader = Reader(data, "feed register: entry")
        reader.u8()
        report_id = reader.text()
        category, source = Category(reader.u8()), SourceClass(reader.u8())
        use, canary = Use(reader.u8()), bool(reader.u8())
        first, last, until = reader.u32(), reader.u32(), reader.u32()
        reader.finish()
        return cls(
            report_id, category, source, use, first, last,
            None if until == _NO_MONTH else until, canary,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """One report as it stands in the register."""

    token: bytes
    state: Status
    expires: int
    details: Details


def last_month(last: int, retention_months: int, until: int | None) -> int:
    """Return the last month of a report: retention after it was last seen, or what it says.

    Never before the last event, because a record cannot end before it begins.
    """
    kept = min(last + retention_months, MAX_MONTH)
    return kept if until is None else max(last, min(kept, until))
