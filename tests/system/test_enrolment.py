"""Coming in by a code and being shut out, by real commands and processes, with Flower.

One town is served for all of this file, since its start costs ten seconds; the tests are in the
order of a partner's life.
"""

import json
import ssl
import time

import httpx
import pytest

from clients.demo.bringing_up import _add_staff, run_command
from clients.keys import credentials, load_keys
from clients.node.home import Home
from clients.node.renewing import load_certificate
from clients.transport import Link, TransportError
from server.home import HubHome
from server.log.opening import open_log
from server.serving import _control

REVOKED = "telecom"
# A hub with Flower and four nodes are started, and the hub once more.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def town(make_place, start_flower):
    made = make_place("enrolment")
    start_flower(made)
    return made


@pytest.fixture(scope="module")
def bank(town):
    """The directory of a node that has keys, and no hub yet."""
    node = town.root / "bank"
    data = town.table("police")
    run_command(
        "lianfang", "node", "init", str(node), "--name", "bank", "--table", str(data),
        "--contract", str(data.with_name("contract.json")),
    )  # fmt: skip
    _add_staff("lianfang", node)
    return node


def said(*arguments):
    return json.loads(run_command(*map(str, arguments), "--format", "json"))


def registered(town):
    return _control(HubHome(town.hub)).nodes()


def asked(node):
    """Ask the hub's API as a node; returns the code of its refusal, or nothing."""
    home = Home(node)
    context = ssl.create_default_context(cafile=str(home.keys / "ca.crt"))
    context.load_cert_chain(home.keys / "tls.pem", home.keys / "tls.key")
    with httpx.Client(verify=context, trust_env=False) as client:
        answer = client.get(f"https://{home.config().api}/openapi.json").json()
    return answer.get("code")


def holder(node):
    path = node / "holder" / "status.json"
    return json.loads(path.read_text()) if path.exists() else {"connected": False}


def test_node_comes_in_by_a_code(town, bank, wait_for):
    code = said("lianfang-hub", "invite", town.hub, "bank")["code"]
    waiting = town.spawn("joining", "-m", "clients.cli", "node", "join", str(bank), code)
    wait_for(lambda: "Waiting" in town.log("joining"))
    assert load_keys(bank / "keys").identity.public_key().public_bytes_raw().hex() in (
        town.log("joining")
    )
    assert "bank" not in registered(town)
    taken = said("lianfang-hub", "approve", town.hub, "bank")
    assert taken["keys"]["identity"] in town.log("joining")
    assert waiting.wait(20) == 0
    # Its SuperNode is known without a further command.
    wait_for(lambda: "bank" in registered(town), 5)
    town.spawn("bank", "-m", "clients.cli", "node", "start", str(bank))
    wait_for(lambda: holder(bank)["connected"] and registered(town)["bank"].is_online, 60)
    assert asked(bank) is None


def test_certificate_is_renewed_while_the_node_runs(town, bank):
    before = load_certificate(Home(bank)).serial_number
    said("lianfang", "node", "renew", bank)
    assert load_certificate(Home(bank)).serial_number != before
    assert holder(bank)["connected"]
    assert asked(bank) is None


def test_partner_is_shut_out_everywhere_at_once_for_good(town, wait_for):
    node = town.node(REVOKED)
    assert (asked(node), holder(node)["connected"]) == (None, True)
    assert registered(town)[REVOKED].is_online
    run_command("lianfang-hub", "revoke", str(town.hub), REVOKED, "--reason", "its key was stolen")
    at = time.monotonic()
    assert asked(node) == "partner_revoked"
    wait_for(lambda: not holder(node)["connected"], 1)
    assert "was revoked" in holder(node)["reason"]
    wait_for(lambda: REVOKED not in registered(town), 1.5)
    assert time.monotonic() - at < 3
    config = Home(node).config()
    with pytest.raises(TransportError, match="was revoked"):
        Link(config.link, credentials(node / "keys"), "any-run", "train", 10)
    with pytest.raises(Exception, match="partner_revoked"):
        run_command("lianfang", "node", "renew", str(node))
    # The others are served on.
    assert asked(town.node("police")) is None
    assert holder(town.node("police"))["connected"]


def test_flower_answers_a_revoked_supernode_no_more(town, wait_for):
    def failed(name):
        return (town.node(name) / "flower" / "supernode.log").read_text().count("attempt failed")

    before = {name: failed(name) for name in (REVOKED, "police")}
    wait_for(lambda: failed(REVOKED) > before[REVOKED], 60)
    assert failed("police") == before["police"]
    assert REVOKED not in registered(town)


def test_what_a_revoked_partner_signed_still_verifies(town):
    (found,) = said("lianfang-hub", "agreement", "list", town.hub)["agreements"]
    assert REVOKED in found["signed"]
    with open_log(HubHome(town.hub)) as log:
        (digest,) = log.office.agreements.digests()
        assert REVOKED in log.office.agreements.load(digest).agreement.names


def test_revocation_outlives_a_restart(town, wait_for):
    hub = town.started[0]
    hub.terminate()
    assert hub.wait(30) == 0
    before = len(town.log("hub"))
    town.spawn("hub", "-m", "server.cli", "serve", str(town.hub))
    wait_for(lambda: "Next:" in town.log("hub")[before:], 90)
    assert asked(town.node(REVOKED)) == "partner_revoked"
    assert REVOKED not in registered(town)
