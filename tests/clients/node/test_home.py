"""Reading the node's own files: a wrong one names itself, the field and the cure."""

import json
import stat

import pytest

from clients.node.home import Home
from compliance.configuration import ConfigError
from protocols.errors import MalformedMessageError


def rewrite(town, name, change):
    path = town.node("telecom") / name
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_made_node_reads_back(town):
    home = Home(town.node("telecom"))
    assert home.config().name == "telecom"
    assert set(home.config().peers) == {"insurer", "police"}
    assert [column.name for column in home.contract().columns] == ["calls", "tariff"]
    assert home.policy().decide == "policy"


@pytest.mark.parametrize("name", ["node.json", "policy.json"])
@pytest.mark.parametrize("text", ["", "{", "[]", "7", "\\u0000", "[" * 100_000])
def test_file_that_is_no_object_is_named(town, name, text):
    (town.node("telecom") / name).write_text(text)
    home = Home(town.node("telecom"))
    with pytest.raises(ConfigError, match=f"^{name}: .*correct it"):
        home.config() if name == "node.json" else home.policy()


@pytest.mark.parametrize("name", ["node.json", "policy.json"])
def test_missing_file_names_the_command_that_makes_it(tmp_path, name):
    home = Home(tmp_path)
    with pytest.raises(ConfigError, match=f"{name}: not found; run `lianfang node init` first"):
        home.config() if name == "node.json" else home.policy()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda v: v.pop("peers"), "peers is missing; add it"),
        (lambda v: v.update(extra=1), r"1 unknown fields \(extra\); remove them"),
        (lambda v: v.update(hub=None), "hub must be of type object"),
        (lambda v: v["hub"].pop("link"), "hub: the field link is missing"),
        (lambda v: v.update(table=7), "table must be of type text"),
        (lambda v: v["peers"].update(police="ABC"), "key of police: needs 64 hexadecimal digits"),
        (lambda v: v["peers"].update({"../x": "a" * 64}), "peers holds a name"),
        (lambda v: v.update(held_out_column=1), "held_out_column must be"),
    ],
)
def test_wrong_field_of_node_json_is_named(town, change, says):
    rewrite(town, "node.json", change)
    with pytest.raises(ConfigError, match=f"node.json: .*{says}"):
        Home(town.node("telecom")).config()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda v: v["columns"][0].update(colour="red"), "exactly the fields"),
        (lambda v: v["columns"][0].update(low=2000), "finite low < high"),
        (lambda v: v["columns"][1].update(levels=["flat", "flat"]), "different levels"),
        (lambda v: v.update(agreed=True), "exactly the fields"),
        (lambda v: v["columns"].append(v["columns"][0]), "named twice"),
    ],
)
def test_wrong_contract_is_refused_by_field_and_rule(town, change, says):
    path = town.root / "telecom.json"
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
    with pytest.raises(ConfigError, match=rf"telecom\.json: .*{says}"):
        Home(town.node("telecom")).contract()


def test_naming_a_run_makes_nothing(town):
    home, before = Home(town.node("telecom")), town.files("telecom")
    home.run("never-seen")
    assert town.files("telecom") == before
    with pytest.raises(MalformedMessageError):
        home.run("../keys")


def test_private_files_are_closed_to_others(town):
    node = town.node("telecom")
    town.offer("telecom", town.plan())
    for path in node.rglob("*"):
        if path.is_file() and path.suffix != ".pub":
            assert not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO), path.name
