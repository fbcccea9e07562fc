"""`doctor`: every check by itself, each failure with what is wrong and how to mend it."""

import json
import time

import pytest

from clients.node.checks import examine
from clients.node.joining import keep_welcome
from server.home import HubHome

TABLE = "the table keeps its contract"


def found(directory):
    return {finding["check"]: finding for finding in examine(directory)}


def test_node_that_has_not_joined_fails_where_a_hub_is_needed(town):
    failing = {name for name, finding in found(town.node("telecom")).items() if not finding["ok"]}
    assert failing == {
        "the certificate lasts two weeks",
        "the hub's link answers",
        "the hub's Flower door answers",
        "the hub's API answers",
    }


def test_certificate_that_ends_soon_is_told_with_its_command(town, tmp_path):
    hub = HubHome(tmp_path / "hub")
    year_ago = int(time.time()) - 390 * 86_400
    hub.create(name="hub", host="127.0.0.1", link_port=1, fleet_port=2, api_port=3, now=year_ago)
    keep_welcome(town.node("telecom"), hub.approve(town.requests["telecom"], year_ago))
    finding = found(town.node("telecom"))["the certificate lasts two weeks"]
    assert not finding["ok"]
    assert f"lianfang node renew {town.node('telecom')}" in finding["cure"]


def test_broken_table_is_told_by_column_and_rule(town):
    contract = town.root / "telecom.json"
    contract.write_text(contract.read_text().replace("1000", "150"))
    finding = found(town.node("telecom"))[TABLE]
    assert not finding["ok"]
    assert finding["found"].startswith("column calls: ")
    assert "outside the contract's range 0 to 150" in finding["found"]


@pytest.mark.parametrize("text", ["{", "[]", '{"hub": null}'])
def test_damaged_configuration_fails_its_checks_and_no_other(town, text):
    (town.node("telecom") / "node.json").write_text(text)
    findings = found(town.node("telecom"))
    assert not findings["node.json holds together"]["ok"]
    assert findings["node.json holds together"]["found"].startswith("node.json: ")
    assert findings["policy.json holds together"]["ok"]
    assert findings["keys are readable and closed to others"]["ok"]


def test_key_that_others_may_read_is_found(town):
    (town.node("telecom") / "keys" / "identity.key").chmod(0o640)
    finding = found(town.node("telecom"))["keys are readable and closed to others"]
    assert not finding["ok"]
    assert "chmod 600" in finding["found"]


def test_directory_without_a_node_fails_and_does_not_break(tmp_path):
    findings = examine(tmp_path)
    assert all(finding["cure"] for finding in findings)
    assert not all(finding["ok"] for finding in findings)
    json.dumps(findings)


def test_examining_tells_no_value(town):
    contract = town.root / "insurer.json"
    contract.write_text(contract.read_text().replace("120", "21"))
    text = found(town.node("insurer"))[TABLE]["found"]
    assert "column age" in text
    assert "79" not in text
