"""`lianfang node doctor` against a hub that is served: reached, let in, of one time and version."""

import time
from hashlib import sha256
from types import SimpleNamespace

import pytest

from clients.node.checks import examine
from clients.node.home import Home
from clients.node.joining import keep_welcome
from clients.node.standing_state import Standing, State, keep_state
from compliance.checkup import Examined
from compliance.clock import SystemClock
from compliance.exits import Exit
from protocols.versions import WIRE
from server.api.app import create_app
from server.api.running import ApiServer
from server.enrolment.service import Enrolment
from server.epochs.holding import identities_of
from server.home import HubHome
from server.log.opening import open_log

NOW = int(time.time())
DAY_S = 86_400


@pytest.fixture
def hub(tmp_path):
    home = HubHome(tmp_path / "hub")
    home.create(name="lianfang", host="127.0.0.1", link_port=0, fleet_port=0, api_port=0, now=NOW)
    return home


@pytest.fixture
def serve(hub):
    """Serve the hub's API; other versions are offered if given."""
    servers, log = [], open_log(hub)

    def serving(**more):
        app = create_app(None, **more)
        app.state.parts = SimpleNamespace(
            enrolment=Enrolment(hub, log.office, clock=SystemClock()),
            identities=identities_of(hub),
            log=log,
        )
        server = ApiServer(app, hub="lianfang")
        servers.append(server)
        names = {"authority": "ca.crt", "certificate": "server.pem", "key": "server.key"}
        paths = {name: hub.authority / file for name, file in names.items()}
        server.start("127.0.0.1", hub.settings().api_port, **paths)

    yield serving
    for server in servers:
        server.stop()
    log.close()


@pytest.fixture
def node(town, hub):
    """A node that joined the hub."""

    def joined(issued=NOW):
        keep_welcome(town.node("telecom"), hub.approve(town.requests["telecom"], issued))
        return town.node("telecom")

    return joined


def told(directory, name):
    (one,) = [finding for finding in examine(directory) if finding["check"] == name]
    return one["level"], one["found"]


def contents(root):
    return {
        str(path.relative_to(root)): sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def test_served_hub_is_reached_under_one_clock_and_version(node, serve):
    directory = node()
    serve()
    findings = {one["check"]: one for one in examine(directory)}
    assert findings["the hub's API answers"]["level"] == "PASS"
    assert " ms, status 200" in findings["the hub's API answers"]["found"]
    assert findings["the hub lets this node in"]["level"] == "PASS"
    assert findings["this clock and the hub's agree"]["found"] == "within two seconds"
    version = findings["hub and node are of neighbouring versions"]
    assert (version["level"], version["found"]) == ("PASS", f"the hub speaks 1-{WIRE}")
    assert findings["the table keeps its contract"]["found"].endswith(" rows")


@pytest.mark.parametrize(
    ("away_s", "told_as"), [(20, ("WARN", "ahead of")), (-20, ("WARN", "behind")),
                            (3600, ("FAIL", "ahead of")), (-DAY_S, ("FAIL", "behind"))],
)  # fmt: skip
def test_clock_that_is_wrong_is_told_with_its_side(node, serve, monkeypatch, away_s, told_as):
    level, side = told_as
    directory = node()
    serve()
    clock = SimpleNamespace(monotonic=time.monotonic, time=lambda: time.time() + away_s)
    monkeypatch.setattr("clients.node.reaching.time", clock)
    found = told(directory, "this clock and the hub's agree")
    assert (found[0], f" s {side} the hub" in found[1]) == (level, True)


def test_hub_of_another_version_is_told_with_the_side_to_update(node, serve):
    directory = node()
    serve(wire=f"{WIRE + 1}-{WIRE + 2}")
    level, text = told(directory, "hub and node are of neighbouring versions")
    assert (level, text.endswith("update the node")) == ("FAIL", True)


def test_certificate_that_has_ended_is_told_by_both_sides(node, serve):
    directory = node(NOW - 400 * DAY_S)
    serve()
    level, text = told(directory, "the certificate lasts two weeks")
    assert (level, text.startswith("over since 3 days")) == ("FAIL", True)
    level, text = told(directory, "the hub lets this node in")
    assert (level, "this node's certificate ended on " in text) == ("FAIL", True)
    assert "lianfang node join" in text


def test_revoked_node_is_told_that_it_is(node, serve, hub):
    directory = node()
    serve()
    hub.revoke("telecom", NOW)
    level, text = told(directory, "the hub lets this node in")
    assert (level, text) == ("FAIL", "status 403: This partner was revoked.")


def test_hub_that_is_away_is_told_once(node):
    findings = {one["check"]: one for one in examine(node())}
    assert findings["the hub's API answers"]["level"] == "FAIL"
    for name in ("the hub lets this node in", "this clock and the hub's agree"):
        assert findings[name]["found"] == "not known: the hub cannot be asked"
    # Nothing here is wrong: the network or the hub is.
    # But for the agreement, which is of another hub than the one that was joined.
    assert "names another key for hub" in findings.pop("an agreement is in force")["found"]
    failed = [one for one in findings.values() if not one["ok"]]
    assert {one["where"] for one in failed} == {"elsewhere"}, failed
    assert Examined.of(list(findings.values())).exit is Exit.FAILED


def test_paused_node_and_pins_are_told(node):
    directory = node()
    assert told(directory, "the node takes part")[0] == "PASS"
    assert told(directory, "other partners' keys are pinned")[0] in {"PASS", "WARN"}
    keep_state(Home(directory), State(Standing.PAUSED, "audit until Friday", NOW))
    level, text = told(directory, "the node takes part")
    assert (level, "paused: audit until Friday" in text) == ("WARN", True)


def test_doctor_changes_nothing(node, serve, tmp_path):
    directory = node()
    serve()
    before, folders = contents(directory), sorted(directory.rglob("*/"))
    examine(directory)
    assert contents(directory) == before
    assert sorted(directory.rglob("*/")) == folders
    (tmp_path / "empty").mkdir()
    examine(tmp_path / "empty")
    assert not list((tmp_path / "empty").iterdir())
