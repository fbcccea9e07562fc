"""When a request must be answered at the latest.

The day of receipt does not count. Months end on the day of the same number, or on the last
of the month. A period whose last day is a Saturday, a Sunday or a holiday ends later, as the
calendar of the jurisdiction says. An extension is counted from the receipt together with the
first period, so that a weekend in between gives no days away.

The period runs from the receipt, also where the identity is shown later: some jurisdictions
let it rest meanwhile, none forbids to be earlier.

Source:
    Taiwan: Civil Code Art. 119 to 122, Administrative Procedure Act Art. 48.
    European Union: Regulation (EEC, Euratom) 1182/71, Art. 3.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta

from compliance.agreement.profile import Span, Unit
from compliance.rights.terms import Terms

_DAY_S, _HOUR_S = 86_400, 3_600
_SATURDAY, _MONTHS = 5, 12
_EPOCH = date(1970, 1, 1)


def due_at(
    terms: Terms, received_at: int, *, extended: bool = False, holidays: Collection[date] = ()
) -> int:
    """Return the first Unix second at which an answer is late."""
    offset = terms.calendar.offset_s
    received = datetime.fromtimestamp(received_at + offset, UTC).date()
    spans = [terms.right.deadline, *([terms.right.extension] if extended else [])]
    nominal = last_day(received, spans)
    last = nominal
    while last.weekday() >= _SATURDAY or last in holidays:
        last += timedelta(days=1)
    midnight = (last - _EPOCH).days * _DAY_S - offset
    hour = terms.calendar.saturday_until_hour
    if nominal.weekday() == _SATURDAY and hour is not None:
        return midnight + hour * _HOUR_S
    return midnight + _DAY_S


def last_day(received: date, spans: Collection[Span]) -> date:
    """Return the last day of some periods that follow each other."""
    months = sum(span.count for span in spans if span.unit is Unit.MONTHS)
    days = sum(span.count for span in spans if span.unit is Unit.DAYS)
    return add_months(received, months) + timedelta(days=days)


def add_months(day: date, months: int) -> date:
    """Return the day of the same number so many months later, or the last of that month."""
    year, month = divmod(day.year * _MONTHS + day.month - 1 + months, _MONTHS)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def months_after(at: int, months: int) -> int:
    """Return the same time of day so many months later (UTC)."""
    moment = datetime.fromtimestamp(at, UTC)
    day = add_months(moment.date(), months)
    return (day - _EPOCH).days * _DAY_S + at % _DAY_S
