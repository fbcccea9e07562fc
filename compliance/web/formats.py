"""Times, dates and numbers as the readers write them; always in the time of Taipei."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from compliance.policy.actors import TAIPEI_OFFSET_S
from compliance.web.languages import Language

# Taiwan has had no summer time since 1979, so that the offset is the whole rule.
TAIPEI = timezone(timedelta(seconds=TAIPEI_OFFSET_S), "Asia/Taipei")
_ROC_OFFSET = 1911
_WEEKDAYS = "一二三四五六日"
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def at_taipei(seconds: int) -> datetime:
    """Return a time of Unix seconds as a clock in Taipei shows it."""
    return datetime.fromtimestamp(seconds, UTC).astimezone(TAIPEI)


def iso(seconds: int) -> str:
    """Write a time for `<time datetime>`."""
    return at_taipei(seconds).isoformat()


def moment(seconds: int, language: Language) -> str:
    """Write a day with its time."""
    at = at_taipei(seconds)
    return f"{day(seconds, language)} {at:%H:%M}"


def day(seconds: int, language: Language) -> str:
    """Write a day: in Chinese by the calendar of the Republic, as all forms there have it."""
    at = at_taipei(seconds)
    if language is Language.EN:
        return f"{at.day} {at:%b} {at.year}"
    return roc_date(at)


def roc_date(at: datetime) -> str:
    """Write a day by the calendar of the Republic of China, in full: 民國 115 年 11 月 22 日."""
    year = at.year - _ROC_OFFSET
    named = f"民國 {year} 年" if year > 0 else f"民國前 {1 - year} 年"
    return f"{named} {at.month} 月 {at.day} 日"


def weekday(seconds: int, language: Language) -> str:
    """Write the day of the week."""
    at = at_taipei(seconds)
    return f"{at:%A}" if language is Language.EN else f"星期{_WEEKDAYS[at.weekday()]}"


def number(value: float) -> str:
    """Write a number with groups of three digits."""
    return f"{value:,}"


def span(seconds: int, language: Language) -> str:
    """Write for how long, in the largest unit that does not hide it."""
    for size, english, chinese in (
        (_DAY, "day", "天"),
        (_HOUR, "hour", "小時"),
        (_MINUTE, "minute", "分鐘"),
    ):
        if seconds >= size:
            count = seconds // size
            plural = "" if count == 1 else "s"
            return f"{count} {chinese}" if language is Language.ZH else f"{count} {english}{plural}"
    return "不到 1 分鐘" if language is Language.ZH else "less than a minute"
