"""Emergencies: some hours long, one person's own, on the list until somebody reviews them."""

import pytest

from compliance.errors import LogCorruptError
from compliance.staff.emergencies import HOUR_S, MOST_HOURS, OVERDUE_S, Emergencies
from compliance.staff.errors import StaffError
from protocols.errors import MalformedMessageError

NOW = 1_800_064_800


@pytest.fixture
def emergencies(tmp_path):
    return Emergencies(tmp_path / "staff" / "emergencies.journal")


def declare(emergencies, account="dora", hours=4, now=NOW):
    return emergencies.declare(emergencies.new_id(), account, hours=hours, now=now)


def test_it_opens_for_its_hours_and_for_who_declared_it(emergencies):
    declare(emergencies)
    assert emergencies.broken_by("dora", NOW)
    assert emergencies.broken_by("dora", NOW + 4 * HOUR_S - 1)
    assert not emergencies.broken_by("dora", NOW + 4 * HOUR_S)
    assert not emergencies.broken_by("anna", NOW)
    assert not emergencies.broken_by("dora", NOW - 1)


@pytest.mark.parametrize("hours", [0, -1, MOST_HOURS + 1])
def test_it_has_an_end(emergencies, hours):
    with pytest.raises(MalformedMessageError, match="hours"):
        declare(emergencies, hours=hours)
    assert emergencies.all() == ()


def test_a_review_closes_it_at_once(emergencies):
    number = declare(emergencies).number
    emergencies.review(number, reviewer="otto", second="amy", now=NOW + 1)
    assert not emergencies.broken_by("dora", NOW + 1)
    assert emergencies.unreviewed() == ()
    with pytest.raises(StaffError, match="waits for no review"):
        emergencies.review(number, reviewer="otto", second="amy", now=NOW + 2)


def test_it_stays_on_the_list_and_becomes_overdue(emergencies):
    declare(emergencies)
    later = NOW + OVERDUE_S
    (found,) = emergencies.unreviewed()
    assert not found.is_overdue(later - 1)
    assert found.is_overdue(later)
    assert not found.lasts(later)


def test_numbers_go_on_over_objects(emergencies, tmp_path):
    declare(emergencies)
    other = Emergencies(tmp_path / "staff" / "emergencies.journal")
    assert declare(other, "anna").number == 2
    assert [item.account for item in emergencies.all()] == ["dora", "anna"]
    assert len({item.subject for item in emergencies.all()}) == 2


@pytest.mark.parametrize(
    "event",
    [{"kind": "reviewed", "number": 9, "by": "a", "second": "b", "at": 1}, {"kind": "x"}],
    ids=str,
)
def test_events_that_make_no_sense_stop_everything(emergencies, event):
    declare(emergencies)
    with emergencies._events.exclusive() as (_, append):
        append(event)
    with pytest.raises(LogCorruptError, match="restore"):
        emergencies.broken_by("dora", NOW)
