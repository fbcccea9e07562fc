"""`lianfang-hub status`, and a run into absence: real nodes over TLS, asked by their hub."""

import json
import time

import pytest
from typer.testing import CliRunner

from clients.node.standing_state import Standing, State, keep_state
from protocols.link import TransportError
from server.cli import app
from server.standing.presence import Presences, await_present, fetch_presence


@pytest.fixture
def asked(holders):
    """A served hub that tells who is there, as `lianfang-hub serve` does."""
    presences = Presences(holders.standing, holders.hub.partners)
    holders.service._on_control = lambda _: presences.control()
    return holders


def status(place, *options):
    result = CliRunner().invoke(app, ["status", str(place.hub.root), *options])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_status_tells_who_is_there_paused_and_away(asked, wait_until):
    keep_state(asked.node("police").node, State(Standing.PAUSED, "audit until Friday", 86_400))
    text = status(asked)
    assert "is being served at 127.0.0.1" in text
    assert "telecom: there, last seen 0 s ago" in text
    assert "police: paused since 1970-01-02 00:00 UTC: audit until Friday" in text
    assert "insurer: not connected; not seen since the hub was started" in text
    assert "No epoch is in force." in text
    asked.stop("telecom")
    told = json.loads(status(asked, "--format", "json"))
    telecom = next(one for one in told["partners"] if one["name"] == "telecom")
    assert (telecom["connected"], telecom["seen_s"] < 20) == (False, True)
    assert told["served"]


def test_run_waits_for_a_node_that_comes_back(asked):
    asked.stop("telecom")

    def look():
        return fetch_presence(asked.hub)

    def wait(wait_s, sleep=time.sleep):
        await_present(
            look, ["police", "telecom"], enough=lambda _: False, wait_s=wait_s, tell=told.append,
            sleep=sleep,
        )  # fmt: skip

    told = []
    with pytest.raises(TransportError, match=r"not everybody is there: telecom: .*--wait SECONDS"):
        wait(0)
    wait(20, lambda _: "telecom" in asked.services or asked.start("telecom"))
    assert all(line.startswith("telecom: not connected; last seen ") for line in told)


def test_hub_that_is_not_served_says_so(place):
    place.service.stop(grace_s=0.1)
    text = status(place)
    assert "is not being served" in text
    assert "telecom: cannot be seen, since the hub is not being served" in text
