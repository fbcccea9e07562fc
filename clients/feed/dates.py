"""Months as people and systems in Taiwan write them, in both calendars.

A year of one to three digits is of the Republic (民國, year 1 is 1912), one of four digits
is of the common era; the month is all that is kept. Read are

    民國115年11月, 民國115年11月3日, 115年11月, 115/11/03, 115/11, 115-11, 115.11.3, 1151103
    2026-11, 2026-11-03, 2026/11/3, 2026年11月, 20261103, 2026-11-03T08:00:00Z

Day and month in another order are refused: 03/11 is November to some and March to others.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, date, datetime

from clients.feed.defects import DefectError
from protocols.lookup.payload import month_of

EPOCH_YEAR = 2000
_ROC_OFFSET = 1911
_ROC_DIGITS = 3
_LONGEST = 40
_WRITTEN = re.compile(
    r"(?P<era>民國)?(?P<year>[0-9]{1,4})(?:[/.\-]|年)(?P<month>[0-9]{1,2})"
    r"(?:月)?(?:(?:(?<=月)|[/.\-])(?P<day>[0-9]{1,2})日?)?"
)
_COMPACT = re.compile(r"(?P<year>[0-9]{3,4})(?P<month>[0-9]{2})(?P<day>[0-9]{2})")
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?"
    r"(?:Z|[+-][0-9]{2}:?[0-9]{2})?"
)
_CURE = "write 2026-11, 2026-11-03, 115/11/03 or 民國115年11月"


def read_month(text: str) -> int:
    """Return the month since 2000-01 that a date lies in, in Taiwan.

    Raises:
        DefectError: no date in one of the known forms, or one before 2000.
    """
    plain = re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text[:_LONGEST])).strip()
    if _INSTANT.fullmatch(plain):
        return _instant(plain)
    plain = plain.replace(" ", "")
    found = _WRITTEN.fullmatch(plain) or _COMPACT.fullmatch(plain)
    if found is None or len(text) > _LONGEST:
        raise DefectError("is no date that can be read", _CURE)
    parts = found.groupdict()
    year = int(parts["year"])
    if parts.get("era") or len(parts["year"]) <= _ROC_DIGITS:
        year += _ROC_OFFSET
    try:
        day = date(year, int(parts["month"]), int(parts["day"] or 1))
    except ValueError:
        raise DefectError("is no day of the calendar", "correct the date") from None
    return _month(day)


def _instant(text: str) -> int:
    """Return the month of a time; one without zone was written by a clock in Taiwan."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise DefectError("is no time of the calendar", "correct the date") from None
    if moment.tzinfo is None:
        return _month(moment.date())
    if moment.year < EPOCH_YEAR:
        raise DefectError("lies before 2000", "correct the date")
    return month_of(int(moment.astimezone(UTC).timestamp()))


def _month(day: date) -> int:
    if day.year < EPOCH_YEAR:
        raise DefectError("lies before 2000", "correct the year; one of up to three digits is 民國")
    return (day.year - EPOCH_YEAR) * 12 + day.month - 1
