"""Making a node and bringing it to a hub: what is wrong is told, and nothing is left half made."""

import json
import time

import pytest

from clients.keys import KeyStoreError
from clients.node.home import Home
from clients.node.joining import keep_welcome, make_node, pin_peer, supernode_of
from compliance.configuration import ConfigError
from protocols.errors import MalformedMessageError
from server.home import HubHome

KEY = "ab" * 32


@pytest.fixture
def hub(tmp_path):
    home = HubHome(tmp_path / "hub")
    home.create(
        name="hub.test",
        host="127.0.0.1",
        link_port=4001,
        fleet_port=4002,
        api_port=4003,
        now=int(time.time()),
    )
    return home


def made(town, directory, *, contract, name="bank"):
    table = town.root / "telecom.parquet"
    return make_node(directory, name=name, table=table, contract=contract, held_out_column=None)


def test_request_holds_public_halves_alone(town):
    request = json.loads((town.node("police") / "police-request.json").read_text())
    assert set(request) == {"name", "tls_request", "identity", "flower_public", "contract"}
    assert "PRIVATE" not in json.dumps(request)
    assert request["contract"]["columns"][0]["name"] == "reports"


@pytest.mark.parametrize("text", [None, "{", "[]", '{"columns": []}'])
def test_wrong_contract_makes_no_node(town, tmp_path, text):
    contract = tmp_path / "agreed.json"
    if text is not None:
        contract.write_text(text)
    with pytest.raises(ConfigError, match=r"^agreed\.json: "):
        made(town, tmp_path / "new", contract=contract)
    assert not (tmp_path / "new").exists()


def test_node_is_never_replaced(town):
    before = town.files("police")
    with pytest.raises(ConfigError, match="exists already; choose another directory"):
        made(town, town.node("police"), contract=town.root / "police.json")
    assert town.files("police") == before


def test_name_must_be_one(town, tmp_path):
    with pytest.raises(MalformedMessageError):
        made(town, tmp_path / "new", contract=town.root / "police.json", name="Bank 1")
    assert not (tmp_path / "new").exists()


def test_welcome_brings_the_hub_and_the_certificate(town, hub):
    welcome = hub.approve(town.requests["telecom"], int(time.time()))
    assert keep_welcome(town.node("telecom"), welcome) == "hub.test"
    config = Home(town.node("telecom")).config()
    assert (config.link, config.flower) == ("127.0.0.1:4001", "127.0.0.1:4002")
    assert (town.node("telecom") / "keys" / "tls.pem").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda v: v.pop("link"), "link is missing"),
        (lambda v: v.update(more=1), "unknown fields"),
        (lambda v: v.update(certificate=7), "certificate must be of type text"),
    ],
)
def test_wrong_welcome_is_named_and_changes_nothing(town, hub, change, says):
    welcome = hub.approve(town.requests["telecom"], int(time.time()))
    change(welcome)
    before = town.files("telecom")
    with pytest.raises(ConfigError, match=f"welcome: .*{says}"):
        keep_welcome(town.node("telecom"), welcome)
    assert town.files("telecom") == before


def test_welcome_of_another_partner_is_refused(town, hub):
    welcome = hub.approve(town.requests["police"], int(time.time()))
    before = town.files("telecom")
    with pytest.raises(KeyStoreError, match="made for another key"):
        keep_welcome(town.node("telecom"), welcome)
    assert town.files("telecom") == before


def test_pinned_key_is_not_replaced(town):
    before = town.files("telecom")
    with pytest.raises(ConfigError, match="another key is pinned for police"):
        pin_peer(town.node("telecom"), "police", KEY)
    with pytest.raises(ConfigError, match="is this node itself"):
        pin_peer(town.node("telecom"), "telecom", KEY)
    for wrong in ("", "xyz", KEY.upper(), KEY + "a"):
        with pytest.raises(ConfigError, match="64 hexadecimal digits"):
            pin_peer(town.node("telecom"), "bank", wrong)
    assert town.files("telecom") == before
    pin_peer(town.node("telecom"), "bank", KEY)
    assert Home(town.node("telecom")).config().peers["bank"] == KEY


def test_node_without_a_hub_does_not_start(town):
    with pytest.raises(ConfigError, match="no hub yet; run `lianfang node join` first"):
        supernode_of(town.node("telecom"))
