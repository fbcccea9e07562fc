"""Clocks: whom an incident must be told comes from the profile, and time decides how it stands."""

import json

import pytest

from compliance.agreement.profile import Profile, Standing, shipped_bytes, shipped_profile
from compliance.incidents.clocks import ClockState, clock_at, deadlines_of
from protocols.errors import MalformedMessageError

NOW, HOUR = 1_795_305_600, 3_600


@pytest.mark.parametrize(
    ("profile", "sector", "expected"),
    [
        ("tw", "life-insurance", [("authority-72h", "Financial Supervisory Commission", True),
                                  ("subjects-72h", "the persons concerned", False)]),
        ("tw", "telecom", [("authority-1h", "National Communications Commission", True),
                           ("authority-72h", "National Communications Commission", True),
                           ("subjects-72h", "the persons concerned", False)]),
        ("tw", "police", [("authority-72h", "Personal Data Protection Commission", False),
                          ("subjects-72h", "the persons concerned", False)]),
        ("tw", "operator", [("authority-72h", "Personal Data Protection Commission", False),
                            ("subjects-72h", "the persons concerned", False)]),
    ],
)  # fmt: skip
def test_every_sector_has_the_clocks_of_its_authority(profile, sector, expected):
    found = deadlines_of(shipped_profile(profile), sector)
    assert [
        (item.id, item.whom.en, item.standing is Standing.IN_FORCE) for item in found
    ] == expected
    assert all(item.source and item.when.zh for item in found)


@pytest.mark.parametrize("sector", ["life-insurance", "telecom", "police", "operator"])
def test_europe_has_72_hours(sector):
    (found,) = deadlines_of(shipped_profile("eu"), sector)
    assert (found.id, found.hours) == ("authority-72h", 72)


def test_unknown_sector_names_those_that_there_are():
    with pytest.raises(MalformedMessageError, match="take one of life-insurance, telecom"):
        deadlines_of(shipped_profile("tw"), "bakery")


def edited(change):
    value = json.loads(shipped_bytes("tw"))
    change(value["clocks"])
    return Profile.parse(json.dumps(value).encode())


def test_clocks_are_data():
    clock = {"sector": "telecom", "to": "authority", "hours": 72,
             "when": {"en": "form", "zh": "二"}, "source": "s", "standing": "in_force"}  # fmt: skip
    more = deadlines_of(edited(lambda clocks: clocks.append(clock)), "telecom")
    assert [item.id for item in more].count("authority-72h-2") == 1
    assert len({item.id for item in more}) == 4

    def lift(clocks):
        for item in clocks:
            item["standing"] = "not_applicable"

    assert deadlines_of(edited(lift), "telecom") == ()


@pytest.mark.parametrize(
    ("told", "closed", "at", "state", "left"),
    [
        (None, False, 0, ClockState.DUE, 72 * HOUR),
        (None, False, 72 * HOUR, ClockState.DUE, 0),
        (None, False, 72 * HOUR + 1, ClockState.OVERDUE, -1),
        (72 * HOUR, False, 99 * HOUR, ClockState.TOLD, 0),
        (72 * HOUR + 1, False, 99 * HOUR, ClockState.TOLD_LATE, 0),
        (None, True, 99 * HOUR, ClockState.NOT_TOLD, 0),
        (0, True, 99 * HOUR, ClockState.TOLD, 0),
    ],
)
def test_state_follows_from_the_time_alone(told, closed, at, state, left):
    deadline = deadlines_of(shipped_profile("tw"), "life-insurance")[0]
    told_at = None if told is None else NOW + told
    clock = clock_at(deadline, NOW, told_at, is_closed=closed, now=NOW + at)
    assert (clock.state, clock.left_s, clock.due) == (state, left, NOW + 72 * HOUR)
