"""The hub's directory: what partners hand in is checked before anything is signed."""

import json

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from clients.keys import certificate_request, create_keys
from compliance.configuration import ConfigError
from server.home import HubHome
from server.keeping.place import keeping_of

NOW = 1_800_000_000
CONTRACT = {
    "identifier": {"column": "id", "kind": "opaque"},
    "label": None,
    "columns": [{"name": "calls", "kind": "numeric", "low": 0, "high": 9, "missing": False}],
}


@pytest.fixture
def hub(tmp_path):
    home = HubHome(tmp_path / "hub")
    home.create(
        name="hub.test", host="127.0.0.1", link_port=4001, fleet_port=4002, api_port=4003, now=NOW
    )
    return home


def request_of(path, name="telecom"):
    keys = create_keys(path)
    return {
        "name": name,
        "tls_request": certificate_request(keys, name).decode(),
        "identity": keys.identity.public_key().public_bytes_raw().hex(),
        "flower_public": _pem(keys.flower),
        "contract": CONTRACT,
    }


def _pem(key):
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return public.decode()


def files(home):
    return {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()}


def test_partner_is_taken_in(hub, tmp_path):
    welcome = hub.approve(request_of(tmp_path / "a"), NOW)
    assert (welcome["hub"], welcome["link"]) == ("hub.test", "127.0.0.1:4001")
    assert hub.partner("telecom")["contract"] == CONTRACT
    assert "tls_request" not in hub.partner("telecom")


def test_same_partner_may_be_welcomed_again(hub, tmp_path):
    first = request_of(tmp_path / "a")
    hub.approve(first, NOW)
    hub.approve(request_of(tmp_path / "a"), NOW + 10)
    assert list(hub.partners()) == ["telecom"]


@pytest.mark.parametrize("name", ["telecom", "police"])
def test_name_and_key_belong_together(hub, tmp_path, name):
    hub.approve(request_of(tmp_path / "a"), NOW)
    # Either the name of one partner with another's key, or a second name for one key.
    again = request_of(tmp_path / ("b" if name == "telecom" else "a"), name)
    before, issued = hub.known(), keeping_of(hub.root).documents("issued").names()
    with pytest.raises(ConfigError, match="taken by another partner"):
        hub.approve(again, NOW)
    assert hub.known() == before
    assert keeping_of(hub.root).documents("issued").names() == issued


WRONG = {
    "field missing": (lambda v: v.pop("identity"), "needs exactly"),
    "field unknown": (lambda v: v.update(role="admin"), "needs exactly"),
    "name of a path": (lambda v: v.update(name="../x"), "party must be"),
    "name of the wrong type": (lambda v: v.update(name=["x"]), "name must be text"),
    "identity": (lambda v: v.update(identity="AB" * 32), "identity needs 64"),
    "flower key": (lambda v: v.update(flower_public="key"), "flower_public is not a public key"),
    "contract": (lambda v: v.update(contract={}), "exactly the fields"),
    "column": (lambda v: v.update(contract=CONTRACT | {"columns": [{}]}), r"columns\[0\]"),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_wrong_request_is_named_and_nothing_is_signed(hub, tmp_path, case):
    change, says = case
    request = request_of(tmp_path / "a")
    change(request)
    before = files(hub)
    with pytest.raises(ConfigError, match=f"join request: .*{says}"):
        hub.approve(request, NOW)
    assert files(hub) == before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not valid JSON"),
        ("[]", "must hold one object"),
        ('{"name": "a"}', "needs name and host"),
        (
            '{"name": "a", "host": "b", "link_port": "1", "fleet_port": 2, "api_port": 3}',
            "needs name and host",
        ),
    ],
)
def test_damaged_settings_are_named(hub, text, says):
    (hub.root / "hub.json").write_text(text)
    with pytest.raises(ConfigError, match=rf"hub\.json: .*{says}"):
        hub.settings()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "Hub!"}, "name: hub name must be"),
        ({"link_port": 70_000}, "ports: must be 0 to 65535"),
        ({"link_port": -1}, "ports: must be 0 to 65535"),
        ({"link_port": 5, "fleet_port": 5}, "need different ones"),
    ],
)
def test_wrong_choice_makes_no_hub(tmp_path, changes, says):
    chosen = {"name": "hub", "host": "127.0.0.1", "link_port": 0, "fleet_port": 0} | changes
    chosen = {"api_port": 0} | chosen
    home = HubHome(tmp_path / "hub")
    with pytest.raises(ConfigError, match=says):
        home.create(**chosen, now=NOW)
    assert not home.root.exists()


def test_hub_is_never_replaced(hub):
    before = files(hub)
    with pytest.raises(ConfigError, match="exists already"):
        hub.create(name="other", host="127.0.0.1", link_port=0, fleet_port=0, api_port=0, now=NOW)
    assert files(hub) == before


def test_free_ports_differ(tmp_path):
    made = HubHome(tmp_path).create(
        name="hub", host="127.0.0.1", link_port=0, fleet_port=0, api_port=0, now=NOW
    )
    assert len({made.link_port, made.fleet_port, made.api_port}) == 3
    assert json.loads((tmp_path / "hub.json").read_text())["link_port"] == made.link_port
