"""`lianfang audit alarms` over a node's own log, and `alarm settle`."""

import json

import pytest
import typer
from typer.testing import CliRunner

from clients.audit.cli_alarms import alarms
from clients.audit.cli_alarms import app as alarm
from clients.keys import load_keys
from clients.node.home import Home
from clients.office import node_office
from clients.output import explain
from compliance.agreement.coverage import Lookup
from compliance.office.about import About
from compliance.policy.actors import Facts, StaffRole
from protocols.lookup.request import Purpose
from protocols.tlog.entry import Outcome, Verb

app = typer.Typer()
app.command()(alarms)
app.add_typer(alarm, name="alarm")


def run(*arguments, code=0):
    """Run a command as `lianfang` does; returns what it wrote, or said of an error."""
    done = CliRunner().invoke(app, [str(item) for item in arguments])
    ended = done.exit_code
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        ended = explain(done.exception)
        assert ended == code, str(done.exception)
        return str(done.exception)
    assert ended == code, done.output + done.stderr
    return done.stdout


def told(*arguments, code=0):
    return json.loads(run(*arguments, "--format", "json", code=code))


@pytest.fixture
def node(ring, agree, staffed):
    keys = {name: load_keys(ring.node(name) / "keys").identity
            for name in ("insurer", "police", "telecom")}  # fmt: skip
    agree({**keys, "hub": ring.hub}).keep(ring.node("insurer"))
    staffed(ring.node("insurer"))
    return ring.node("insurer")


def look(node, account, subject, case="C-1"):
    """Enter that somebody at the desk looked at a person at ten in the morning."""
    with node_office(Home(node)) as office:
        about = About(Verb.CONSULT, "fraud-reports", count=1, subject=subject, case=case)
        facts = Facts(hour=10, channel="counter", case_present=True)
        decision = office.permit(
            "check", about, by=office.person(account, [StaffRole.DESK]), facts=facts,
            question=Lookup("insurer", Purpose.COUNTER),
        )  # fmt: skip
        office.enter(decision, about, Outcome.MISS)


# The hour of the machine that runs the tests is no matter of theirs.
def among(value):
    return [item for item in value["alarms"] if item["rule"] != "out-of-hours"]


@pytest.fixture
def rules(tmp_path):
    """Rules of which none asks for the hour."""
    path = tmp_path / "rules.json"
    path.write_text(
        json.dumps(
            {
                "format": "lianfang/exports/rules/v1",
                "rules": [
                    {
                        "id": "many", "kind": "spread", "en": "Many.", "zh": "多。", "by":
                        "organisation", "among": {"acts": ["check"]}, "window_s": 9_999, "most": 1,
                    }
                ],
            }
        )
    )  # fmt: skip
    return path


def test_own_log_is_searched_with_its_private_parts(node):
    for account in ("one", "two", "three", "four"):
        look(node, account, "somebody")
    found = told("alarms", node, code=3)
    assert [item["rule"] for item in among(found)] == ["subject-many-analysts"]
    assert found["not_asked"] == []
    assert "somebody" not in json.dumps(found)
    assert "somebody" not in run("alarms", node, code=3)


def test_settled_alarm_is_not_shown_again_until_it_grows(node, rules):
    assert "Nothing found by 1 rules." in run("alarms", node, "--rules", rules)
    look(node, "one", "somebody")
    look(node, "two", "somebody")
    (item,) = told("alarms", node, "--rules", rules, code=3)["alarms"]
    given = ("--rules", rules)
    settled = told("alarm", "settle", node, item["id"], "--finding", "two shifts", *given)
    assert (settled["alarm"], settled["rule"]) == (item["id"], "many")
    assert told("alarms", node, *given)["alarms"] == []
    (known,) = told("alarms", node, "--all", *given)["alarms"]
    assert known["settled"]["finding"] == "two shifts"
    assert "two shifts" in run("alarms", node, "--all", *given)
    run("alarm", "settle", node, item["id"], "--finding", "again", *given, code=4)
    look(node, "three", "somebody")
    (grown,) = told("alarms", node, *given, code=3)["alarms"]
    assert (grown["id"], grown["value"], grown["settled"]) == (item["id"], 3, None)


def test_only_officers_search_and_settle(node, rules, staffed, monkeypatch):
    look(node, "one", "somebody")
    look(node, "two", "somebody")
    (item,) = told("alarms", node, "--rules", rules, code=3)["alarms"]
    assert "say-why" in run(
        "alarm", "settle", node, item["id"], "--finding", " ", "--rules", rules, code=3
    )
    staffed(node, roles=frozenset({"desk"}))
    assert "read_log: denied" in run("alarms", node, "--rules", rules, code=3)
    assert "read_log: denied" in run(
        "alarm", "settle", node, item["id"], "--finding", "x", "--rules", rules, code=3
    )
    monkeypatch.delenv("LIANFANG_SECOND")
    monkeypatch.delenv("LIANFANG_AS")
    assert "read_log: denied" in run("alarms", node, "--rules", rules, code=3)


def test_wrong_id_and_rules_end_with_4(node, rules, tmp_path):
    run("alarm", "settle", node, "0000-0000-0000", "--finding", "x", code=4)
    run("alarms", node, "--rules", tmp_path / "none", code=4)
    rules.write_text("{}")
    run("alarms", node, "--rules", rules, code=4)
