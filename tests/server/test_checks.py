"""`lianfang-hub doctor`: every check by itself, with what is wrong and how to mend it."""

import json
import time

import pytest

from server.checks import examine
from server.home import HubHome
from server.keeping.place import keeping_of


@pytest.fixture
def hub(tmp_path):
    home = HubHome(tmp_path / "hub")
    home.create(
        name="hub", host="127.0.0.1", link_port=0, fleet_port=0, api_port=0, now=int(time.time())
    )
    return home


def found(home):
    return {finding["check"]: finding for finding in examine(home.root)}


def test_new_hub_lacks_only_partners(hub):
    failing = {name for name, finding in found(hub).items() if not finding["ok"]}
    assert failing == {"at least two partners have joined"}


def test_key_that_others_may_read_is_found(hub):
    (hub.authority / "ca.key").chmod(0o644)
    assert not found(hub)["private keys are closed to others"]["ok"]


def test_old_certificate_is_found(tmp_path):
    home = HubHome(tmp_path / "hub")
    year_ago = int(time.time()) - 390 * 86_400
    home.create(name="hub", host="127.0.0.1", link_port=0, fleet_port=0, api_port=0, now=year_ago)
    for name in (
        "the server certificate lasts two weeks",
        "the certificate of the hub's own programs lasts two weeks",
    ):
        finding = found(home)[name]
        assert not finding["ok"]
        assert f"lianfang-hub renew {home.root}" in finding["cure"]
    home.renew_server(int(time.time()))
    assert found(home)["the server certificate lasts two weeks"]["ok"]


def test_damaged_list_of_revocations_is_found(hub):
    keeping_of(hub.root).shelf("revoked").put("revoked.crl", b"nothing")
    assert "restore" in found(hub)["the list of revoked certificates is readable"]["found"]


def test_damaged_files_are_named(hub):
    keeping_of(hub.root).shelf("partners").put("police.json", b"[]")
    assert "police.json" in found(hub)["at least two partners have joined"]["found"]
    (hub.root / "hub.json").write_text("{")
    finding = found(hub)["hub.json holds together"]
    assert finding["found"].startswith("hub.json: not valid JSON")


def test_directory_without_a_hub_fails_and_does_not_break(tmp_path):
    findings = examine(tmp_path)
    assert not all(finding["ok"] for finding in findings)
    json.dumps(findings)
