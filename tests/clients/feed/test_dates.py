"""Months in both calendars."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.feed.dates import read_month
from clients.feed.defects import DefectError
from protocols.lookup.payload import format_month


@pytest.mark.parametrize(
    "text",
    [
        "民國115年11月", "民國 115 年 11 月", "民國１１５年１１月", "民國115年11月3日", "115年11月",
        "115/11/03", "115/11", "115-11", "115.11.3", "1151103", "１１５／１１／０３",
        "2026-11", "2026-11-03", "2026/11/3", "2026年11月", "2026年11月30日", "20261103",
        "2026-11-03T08:00:00+08:00", "2026-10-31T16:00:00Z", "2026-10-31T16:00:00.000Z",
        "2026-11-30 23:59:59", "2026-11-30T15:59:59Z",
    ],
)  # fmt: skip
def test_spellings_of_one_month_meet(text):
    assert format_month(read_month(text)) == "2026-11"


@pytest.mark.parametrize(
    ("text", "month"),
    [
        ("民國89年1月", "2000-01"), ("99/12/31", "2010-12"), ("1000101", "2011-01"),
        ("2000-01", "2000-01"), ("2026年11", "2026-11"), ("115/11月", "2026-11"),
    ],
)  # fmt: skip
def test_years_of_the_republic_of_any_length_are_read(text, month):
    assert format_month(read_month(text)) == month


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "11/03/2026", "2026", "2026-13", "2026-02-30", "115/13", "115/02/30",
        "民國88年12月", "1999-12-31", "24/05/01", "2026-1-1-1", "2026-11-03T25:00:00Z", "1151331",
        "115111", "1999-12-31T20:00:00Z", "99999/01", "-115/11", "2026-11" * 10,
    ],
)  # fmt: skip
def test_other_texts_are_refused_by_rule_and_cure(text):
    with pytest.raises(DefectError) as caught:
        read_month(text)
    assert caught.value.cure
    assert not text or text not in caught.value.rule


@given(st.text(max_size=50))
def test_any_text_gives_a_month_or_one_error(text):
    with contextlib.suppress(DefectError):
        assert read_month(text) >= 0
