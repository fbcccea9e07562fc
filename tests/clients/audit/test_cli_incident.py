"""`lianfang audit incident`, from the notice to the closing, with accounts and exit codes."""

import json
import time
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from clients.audit.cli_incident import app
from clients.keys import load_keys
from clients.output import explain
from compliance.staff.staff import Staff

WHAT = "a table was sent to the wrong partner"


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
    agree({**keys, "hub": ring.hub}).keep(ring.node("insurer"), ring.node("telecom"))
    staffed(ring.node("insurer"), ring.node("telecom"))
    return ring.node("insurer")


def stamp(ago_s):
    return datetime.fromtimestamp(time.time() - ago_s, UTC).isoformat(timespec="seconds")


def test_incident_from_notice_to_closing(node, tmp_path):
    assert told("list", node) == {
        "incidents": [], "overdue": [], "next": f"lianfang audit incident show {node} NUMBER",
    }  # fmt: skip
    opened = told(
        "open", node, "--what", WHAT, "--noticed", stamp(7_200), "--flow", "report:police:insurer",
        "--data-set", "fraud-reports", "--records", 120,
    )  # fmt: skip
    assert (opened["incident"], opened["sector"], opened["profile"]) == (1, "life-insurance", "tw")
    assert [clock["id"] for clock in opened["clocks"]] == ["authority-72h", "subjects-72h"]
    assert 69 < opened["clocks"][0]["left_s"] / 3600 <= 70
    noted = told("note", node, 1, "--text", "file deleted", "--persons", 80, "--evidence", "0")
    assert noted["affected"]["evidence"] == [[opened["events"][0]["log"], 0, 0]]
    assert noted["affected"]["persons"] == 80
    out = tmp_path / "report.md"
    made = told("report", node, 1, "--to", "authority-72h", "--out", out, "--reason", "72 h")
    assert made["proofs"] == 2
    assert "金融監督管理委員會" in out.read_text()
    run("report", node, 1, "--to", "authority-72h", "--out", out, "--reason", "72 h", code=4)
    stopped = told("note", node, 1, "--text", "by form", "--told", "authority-72h")
    assert stopped["clocks"][0]["state"] == "told"
    assert "subjects-72h not told" in run(
        "close", node, 1, "--finding", "mistake", "--reason", "mended", code=3
    )
    closed = told("close", node, 1, "--finding", "mistake", "--reason", "mended",
                  "--not-told", "no risk")  # fmt: skip
    assert (closed["open"], closed["finding"]) == (False, "mistake")
    assert told("list", node)["incidents"] == []
    assert len(told("list", node, "--all")["incidents"]) == 1
    assert "closed" in run("show", node, 1)


def test_json_report_in_english(node, tmp_path):
    run("open", node, "--what", WHAT)
    out = tmp_path / "report.json"
    run("report", node, 1, "--to", "subjects-72h", "--out", out, "--reason", "due",
        "--as-format", "json")  # fmt: skip
    value = json.loads(out.read_text())
    assert (value["what"], value["to"]["id"]) == (WHAT, "subjects-72h")
    assert len(value["log"]["proofs"]) == 1
    text = tmp_path / "report.md"
    run("report", node, 1, "--to", "subjects-72h", "--out", text, "--reason", "due", "--lang", "en")
    assert text.read_text().startswith("# Incident report 1\n")


def test_overdue_clock_ends_with_3(node, ring):
    telecom = ring.node("telecom")
    run("open", telecom, "--what", WHAT, "--noticed", stamp(7_200))
    found = told("list", telecom, code=3)
    assert found["overdue"] == [1]
    assert "h too late" in run("list", telecom, code=3)
    run("note", telecom, 1, "--text", "by telephone", "--told", "authority-1h", "--at",
        stamp(7_000))  # fmt: skip
    assert told("list", telecom)["overdue"] == []


def test_desk_may_open_and_not_close_or_write_out(node, tmp_path, staffed, monkeypatch):
    staffed(node, roles=frozenset({"desk"}))
    run("open", node, "--what", WHAT)
    refused = run("close", node, 1, "--finding", "x", "--reason", "y", "--not-told", "z", code=3)
    assert "close_incident: denied" in refused
    out = tmp_path / "report.md"
    run("report", node, 1, "--to", "authority-72h", "--out", out, "--reason", "x", code=3)
    assert not out.exists()
    for name in ("LIANFANG_AS", "LIANFANG_SECOND"):
        monkeypatch.delenv(name)
    assert "open_incident: denied" in run("open", node, "--what", WHAT, code=3)
    assert len(told("list", node)["incidents"]) == 1


def test_second_person_can_agree_later(node, monkeypatch):
    run("open", node, "--what", WHAT)
    monkeypatch.delenv("LIANFANG_SECOND")
    refused = run("close", node, 1, "--finding", "x", "--reason", "y", "--not-told", "z", code=3)
    assert "request 1 waits for a second person" in refused
    assert told("show", node, 1)["open"]
    staff = Staff(node)
    staff.consents.agree(1, staff.find("eye"), now=int(time.time()))
    # What was agreed to is this finding, and no other.
    for finding, untold in (("another", "z"), ("x", "another")):
        run("close", node, 1, "--finding", finding, "--reason", "y", "--not-told", untold, code=3)
    closed = told("close", node, 1, "--finding", "x", "--reason", "y", "--not-told", "z")
    assert not closed["open"]


def test_wrong_input_ends_with_4_and_changes_nothing(node, tmp_path):
    run("open", node, "--what", WHAT)
    before = told("show", node, 1)["events"]
    for name, *rest in (
        ("open", "--what", "about A123456789"),
        ("open", "--what", WHAT, "--profile", "tw", "--sector", "bakery"),
        ("note", 1, "--text", "x", "--told", "authority-1h"),
        ("note", 1, "--text", "x", "--at", "2026-01-01"),
        ("note", 1, "--text", "x", "--told", "authority-72h", "--records", 3),
        ("report", 1, "--to", "nobody", "--reason", "x", "--out", tmp_path / "out"),
        ("open", "--what", WHAT, "--evidence", "0-99"),
    ):
        assert "A123456789" not in run(name, node, *rest, code=4)
    assert told("show", node, 1)["events"] == before
    assert len(told("list", node)["incidents"]) == 1


def test_profile_must_be_named_without_an_agreement(ring, staffed):
    node = ring.node("police")
    staffed(node)
    assert "no agreement is in force" in run("open", node, "--what", WHAT, code=4)
    opened = told("open", node, "--what", WHAT, "--profile", "eu", "--sector", "police")
    assert [clock["hours"] for clock in opened["clocks"]] == [72]
