"""Canaries: valid numbers of nobody here, published and remembered."""

import random

from clients.feed.canaries import make_canaries
from protocols.lookup.payload import Status


def test_canaries_are_published_and_counted_apart(town, given, ids):
    town.take_in([given(1)])
    register = town.register()
    make_canaries(
        register,
        30,
        town.home.settings(),
        town.actor(),
        random.Random(1).randbytes,
        enter=lambda _count: None,
    )
    assert register.canaries() == 30
    assert [(state, count) for state, _, count in register.counts()] == [(Status.REPORTED, 1)]
    assert town.publish().count == 31
    number = known_canaries(register)[7].decode()
    payload = town.payload("tw_national_id", number)
    assert payload.canary
    assert not town.payload("tw_national_id", ids(1)).canary


def known_canaries(register):
    rows = register.database.execute(
        "SELECT i.token, i.sealed FROM identifiers i JOIN reports r ON r.identifier = i.id"
        " WHERE r.canary = 1"
    )
    return [register.canonical(*row)[-10:] for row in rows]


def test_canaries_differ_from_each_other_and_from_all_reported(town, given):
    register = town.register()
    source = random.Random(2)
    make_canaries(
        register, 1, town.home.settings(), town.actor(), source.randbytes, enter=lambda _count: None
    )
    # The same draws again meet the one that is there, and go on to another.
    repeating = random.Random(2)
    make_canaries(
        register,
        1,
        town.home.settings(),
        town.actor(),
        repeating.randbytes,
        enter=lambda _count: None,
    )
    numbers = known_canaries(register)
    assert len(set(numbers)) == 2


def test_report_on_a_canary_is_published_as_a_report(town, given):
    register = town.register()
    make_canaries(
        register,
        1,
        town.home.settings(),
        town.actor(),
        random.Random(3).randbytes,
        enter=lambda _count: None,
    )
    (number,) = (found.decode() for found in known_canaries(register))
    town.publish()
    town.take_in([given(1, value=number, status="confirmed")])
    town.publish()
    payload = town.payload("tw_national_id", number)
    assert (payload.status, payload.canary) == (Status.CONFIRMED, False)
