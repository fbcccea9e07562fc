"""The hub's clock is set back a day, or forward a year: nothing is given twice, freed or undone."""

import logging
import time

import httpx
import pytest

from clients.lifetime import check_lifetime
from clients.lookup.https import client_context
from clients.transport import Credentials
from protocols.link import TransportError
from protocols.tlog.entry import Outcome

HOUR, DAY, YEAR = 3600, 86_400, 366 * 86_400
QUOTA = 3


def ask(world, seed=b"x"):
    return world.post(world.sign(world.query((seed,)).request))


@pytest.mark.parametrize("jump", [-DAY + HOUR, -HOUR, DAY - HOUR])
def test_spent_quota_stays_spent(make_world, problem, jump):
    world = make_world(quota=QUOTA)
    for number in range(QUOTA):
        assert ask(world, bytes([number])).status_code == 200
    problem(ask(world), 429, "quota_exhausted")
    world.clock.advance(jump)
    problem(ask(world), 429, "quota_exhausted")
    world.clock.advance(-jump)
    problem(ask(world), 429, "quota_exhausted")
    assert world.used() == QUOTA


@pytest.mark.parametrize("jump", [-DAY + HOUR, DAY - HOUR])
def test_repeated_request_is_charged_once_and_entered_once(world, jump):
    signed = world.sign(world.query((b"x",)).request)
    first = world.post(signed)
    entries = len(world.entries())
    world.clock.advance(jump)
    again = world.post(signed)
    # It is as old, or as new, as the clocks differ: answered again, or refused; never charged.
    assert (first.status_code, again.status_code in {200, 422}) == (200, True)
    assert world.used() == 1
    done = [entry for entry in world.entries()[entries:] if entry.outcome is Outcome.DONE]
    assert not done


def test_log_goes_on_whole_whichever_way_the_clock_went(world):
    for jump in (0, -DAY + HOUR, DAY, -HOUR):
        world.clock.advance(jump)
        assert ask(world, str(jump).encode()).status_code == 200
    entries = world.entries()
    # In the order in which it happened, with the time that the clock showed: what was backdated
    # is told as such by the alarms of the log, and by the doctor.
    assert [entry.sequence for entry in entries] == list(range(len(entries)))
    times = [entry.time for entry in entries]
    assert times != sorted(times)
    assert len({entry.commitment for entry in entries}) == len(entries)


def test_year_ahead_nothing_is_in_force_and_back_again_it_is(world, problem):
    assert ask(world).status_code == 200
    before = world.used(), len(world.entries())
    world.clock.advance(YEAR)
    assert ask(world, b"y").status_code in {403, 404, 409}
    assert world.used() == before[0]
    world.clock.advance(-YEAR)
    assert ask(world, b"z").status_code == 200
    assert world.used() == before[0] + 1
    # Both years have their log, under one key, and neither has lost anything.
    assert [entry.sequence for entry in world.entries()] == list(range(len(world.entries())))
    assert len(world.entries()) >= before[1] + 1


def test_certificate_that_ended_is_refused_and_told_at_both_ends(world, caplog, tmp_path):
    expired = world.shop.issue("insurer", now=world.clock.now() - 398 * DAY)
    with (
        caplog.at_level(logging.WARNING, logger="lianfang.api"),
        pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)),
    ):
        world.client(credentials=expired).get("/healthz")
    # The server notes it in a thread of its own, about when the client hears of it.
    ends_at = time.monotonic() + 5
    while "certificate_refused" not in caplog.text and time.monotonic() < ends_at:
        time.sleep(0.02)
    assert "certificate_refused" in caplog.text
    assert "certificate has expired" in caplog.text
    certificate, key = expired
    held = Credentials(world.shop.directory / "ca.crt", certificate, key)
    with pytest.raises(
        TransportError, match=r"certificate ended on .*lianfang node join"
    ) as caught:
        client_context(held)
    assert not caught.value.retryable


def test_certificate_that_is_to_come_says_that_the_clock_is_wrong(world):
    early, _ = world.shop.issue("insurer", now=world.clock.now() + 30 * DAY)
    with pytest.raises(TransportError, match="set the clock"):
        check_lifetime(early)
