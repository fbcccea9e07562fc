"""When requests are due: weekends, holidays, month ends, extensions."""

from datetime import UTC, date, datetime, timedelta

import pytest

from compliance.agreement.profile import shipped_profile
from compliance.rights.deadlines import add_months, due_at, months_after
from compliance.rights.kinds import Kind
from compliance.rights.terms import LEGAL_HOLD, RETENTION, terms_of
from protocols.errors import UnsupportedParameterError


def at(text, hours):
    """Unix seconds of a local time."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) - hours * 3600


def taipei(kind, received, **options):
    found = due_at(terms_of(kind, "tw"), at(received, 8), **options)
    return datetime.fromtimestamp(found, UTC) + timedelta(hours=8)


def brussels(kind, received, **options):
    found = due_at(terms_of(kind, "eu"), at(received, 1), **options)
    return datetime.fromtimestamp(found, UTC) + timedelta(hours=1)


def test_day_of_receipt_does_not_count():
    # Fifteen days from Monday, 2 November end with Tuesday, 17 November.
    assert taipei(Kind.ACCESS, "2026-11-02T09:00").isoformat() == "2026-11-18T00:00:00+00:00"
    assert taipei(Kind.ACCESS, "2026-11-02T23:59").isoformat() == "2026-11-18T00:00:00+00:00"


def test_period_ending_on_saturday_ends_at_mondays_noon_in_taiwan():
    # Fifteen days from Friday, 6 November end on Saturday, 21 November.
    assert taipei(Kind.ACCESS, "2026-11-06T09:00").isoformat() == "2026-11-23T12:00:00+00:00"


def test_period_ending_on_sunday_ends_with_monday():
    assert taipei(Kind.ACCESS, "2026-11-07T09:00").isoformat() == "2026-11-24T00:00:00+00:00"


def test_holidays_after_a_weekend_move_the_end_on():
    holidays = {date(2026, 11, 23), date(2026, 11, 24)}
    found = taipei(Kind.ACCESS, "2026-11-07T09:00", holidays=holidays)
    assert found.isoformat() == "2026-11-26T00:00:00+00:00"


def test_extension_is_counted_from_the_receipt_and_not_from_the_moved_end():
    # The first period ends on Saturday, 21 November; thirty days end on Sunday, 6 December.
    extended = taipei(Kind.ACCESS, "2026-11-06T09:00", extended=True)
    assert extended.isoformat() == "2026-12-08T00:00:00+00:00"


def test_months_end_on_the_last_day_of_a_short_month():
    # One month from 31 January is 28 February 2026, a Saturday: the end of Monday.
    assert brussels(Kind.ACCESS, "2026-01-31T10:00").isoformat() == "2026-03-03T00:00:00+00:00"
    # Three months end on Thursday, 30 April.
    extended = brussels(Kind.ACCESS, "2026-01-31T10:00", extended=True)
    assert extended.isoformat() == "2026-05-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("day", "months", "found"),
    [
        ("2026-11-30", 3, "2027-02-28"),
        ("2024-02-29", 12, "2025-02-28"),
        ("2026-12-31", 1, "2027-01-31"),
        ("2026-01-15", 60, "2031-01-15"),
    ],
)
def test_months_are_added_by_the_calendar(day, months, found):
    assert add_months(date.fromisoformat(day), months) == date.fromisoformat(found)


def test_months_after_keeps_the_time_of_day():
    start = at("2026-11-02T12:34", 0)
    assert months_after(start, 60) == at("2031-11-02T12:34", 0)


@pytest.mark.parametrize("profile", ["tw", "eu"])
@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_terms_under_every_profile(profile, kind):
    terms = terms_of(kind, profile)
    assert terms.right in shipped_profile(profile).rights
    assert terms.right.deadline.count > 0
    assert terms.refusals
    for refusal in terms.refusals.values():
        assert refusal.source
        assert refusal.title.en
        assert refusal.title.zh


@pytest.mark.parametrize("profile", ["tw", "eu"])
def test_erasure_can_be_refused_by_hold_and_retention(profile):
    assert {LEGAL_HOLD, RETENTION} <= set(terms_of(Kind.ERASURE, profile).refusals)


def test_unknown_ground_and_profile_are_refused_with_those_there_are():
    with pytest.raises(UnsupportedParameterError, match="third_party"):
        terms_of(Kind.ACCESS, "tw").refusal("we_do_not_like_it")
    with pytest.raises(UnsupportedParameterError, match="tw"):
        terms_of(Kind.ACCESS, "mars")
