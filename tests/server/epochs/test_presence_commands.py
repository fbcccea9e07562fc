"""`lianfang-hub status`, and a run into absence: real nodes over TLS, asked by their hub."""

import json
import time

import pytest
from typer.testing import CliRunner

from clients.node.standing_state import Standing, State, keep_state
from protocols.link import TransportError
from server.cli import app
from server.serving import _present
from server.standing.presence import Presences, absentees, await_present, fetch_presence
from server.training.control import RegisteredNode


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


class SuperNodes:
    """What the SuperLink tells of SuperNodes: those of some partners are connected."""

    def __init__(self, *online, offline=()):
        self._found = dict.fromkeys(online, True) | dict.fromkeys(offline, False)

    def nodes(self):
        return {
            name: RegisteredNode(name, number, b"", is_online)
            for number, (name, is_online) in enumerate(self._found.items(), 1)
        }


def present(place, control):
    return {found.name: found for found in _present(place.hub, control)}


def test_partner_is_present_with_its_holder_and_its_supernode(asked):
    found = present(asked, SuperNodes("police", "telecom"))
    assert [name for name, one in found.items() if one.is_there] == ["police", "telecom"]
    assert found["telecom"].text() == "telecom: there, last seen 0 s ago"
    # A SuperNode alone takes part in nothing: its people say whether the node does.
    assert not present(asked, SuperNodes("insurer"))["insurer"].is_there


@pytest.mark.parametrize(
    "control", [SuperNodes("police", offline=["telecom"]), SuperNodes("police")]
)
def test_partner_without_its_supernode_is_waited_for_and_told_as_such(asked, control):
    found = present(asked, control)
    telecom = found["telecom"]
    assert (telecom.is_there, found["police"].is_there) == (False, True)
    assert "telecom: its SuperNode is not connected; last seen " in telecom.text()
    assert absentees(found.values(), ["police", "telecom"]) == [telecom]
    # Without waiting a run begins: a SuperNode dials in within its first phase.
    assert absentees(fetch_presence(asked.hub), ["police", "telecom"]) == []


def test_partner_that_paused_keeps_its_own_reason_without_a_supernode(asked):
    keep_state(asked.node("police").node, State(Standing.PAUSED, "audit until Friday", 86_400))
    found = present(asked, SuperNodes("telecom"))["police"]
    assert (found.standing, found.reason) == ("paused", "audit until Friday")
    assert found.connected


def test_hub_that_is_not_served_says_so(place):
    place.service.stop(grace_s=0.1)
    text = status(place)
    assert "is not being served" in text
    assert "telecom: cannot be seen, since the hub is not being served" in text
