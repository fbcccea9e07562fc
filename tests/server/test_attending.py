"""A hub whose SuperLink cannot start serves lookups, and starts it when it can."""

import os
import signal
import socket
import time
from itertools import pairwise

import pytest

from server.attending import AGAIN_LONGEST_S, Attendant
from server.home import HubHome
from server.serving import serve, superlink_of

# The SuperLink is started several times.
pytestmark = pytest.mark.slow


@pytest.fixture
def busy():
    """A port that another program has."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken


@pytest.fixture
def home(tmp_path, busy):
    made = HubHome(tmp_path / "hub")
    made.create(
        name="hub.test", host="127.0.0.1", link_port=0, fleet_port=busy.getsockname()[1],
        api_port=0, now=int(time.time()),
    )  # fmt: skip
    return made


def test_hub_is_served_without_flower_until_its_port_is_free(home, busy, caplog):
    with serve(home) as hub:
        assert "lookups go on, runs do not; trying again" in caplog.text
        assert home.root.joinpath("flower", "superlink.log").read_text()
        assert hub.flower.look() is False
        busy.close()
        ends_at = time.monotonic() + 60
        while not hub.flower.look():
            assert time.monotonic() < ends_at, "not started"
            time.sleep(0.1)
        socket.create_connection(("127.0.0.1", home.settings().fleet_port)).close()


def test_failing_start_is_tried_less_and_less_often(home):
    now = [0.0]
    superlink = superlink_of(home)
    attendant = Attendant(home, superlink, clock=lambda: now[0])
    tried = []
    log = home.root / "flower" / "superlink.log"
    while len(tried) < 3:
        before = log.stat().st_size if log.exists() else 0
        assert attendant.look() is False
        if log.stat().st_size > before:
            tried.append(now[0])
        now[0] += 0.5
        assert now[0] < AGAIN_LONGEST_S
    first, second = (later - earlier for earlier, later in pairwise(tried))
    assert 1.0 <= first <= 2.5
    assert 2.0 <= second <= 4.5
    superlink.stop()


def test_what_ends_soon_after_its_start_is_not_started_at_once(home, busy):
    busy.close()
    now = [0.0]
    superlink = superlink_of(home)
    attendant = Attendant(home, superlink, clock=lambda: now[0])
    try:
        assert attendant.look() is True
        now[0] += AGAIN_LONGEST_S + 1
        kill(superlink)
        assert attendant.look() is True  # it had lasted
        kill(superlink)
        assert attendant.look() is False
        now[0] += 0.9
        assert attendant.look() is False
        assert superlink.pid is None
        now[0] += 1.2
        assert attendant.look() is True
    finally:
        superlink.stop()


def kill(superlink):
    os.kill(superlink.pid, signal.SIGKILL)
    ends_at = time.monotonic() + 10
    while superlink.pid is not None:
        assert time.monotonic() < ends_at, "still there"
        time.sleep(0.02)
