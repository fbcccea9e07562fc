"""`lianfang-hub staff`: the same rules at the hub, entered into the hub's own log."""

import json

import pytest
from typer.testing import CliRunner

from compliance.commands.acting import AS, PASSWORDS, SECOND
from compliance.commands.output import EXIT_CONFIG, EXIT_REFUSED
from compliance.policy.actors import Facts
from compliance.staff.passwords import Cost
from protocols.tlog.entry import Entry
from server.acting import acting
from server.cli import app as hub_app
from server.cli_staff import app
from server.home import HubHome
from server.log.opening import open_log
from server.output import explain

BY_TWO = ("--as", "amy", "--second", "otto")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    for name in (AS, SECOND):
        monkeypatch.delenv(name, raising=False)
    # Passwords are hashed some dozens of times here; what it costs is tested elsewhere.
    monkeypatch.setattr("compliance.staff.staff.DEFAULT_COST", Cost(64, 1, 1))
    monkeypatch.setenv(PASSWORDS, str(tmp_path / "passwords"))
    (tmp_path / "passwords").mkdir()
    words = ["init", str(tmp_path / "hub"), "--link-port", "0", "--fleet-port", "0"]
    assert CliRunner().invoke(hub_app, [*words, "--api-port", "0"]).exit_code == 0
    return tmp_path / "hub"


def run(command, hub, *arguments, code=0):
    words = [command, hub, *arguments, "--format", "json"]
    done = CliRunner().invoke(app, [str(word) for word in words])
    ended, said = done.exit_code, done.stderr
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        ended, said = explain(done.exception), str(done.exception)
    assert ended == code, done.output + said
    return said if code else json.loads(done.stdout)


def add(hub, name, role, *more, code=0):
    file = hub.parent / "passwords" / name
    file.write_text(f"a long enough secret of {name}\n")
    file.chmod(0o600)
    words = ("--display", name.title(), "--role", role, "--reason", "set-up")
    return run("add", hub, name, *words, *more, code=code)


def test_set_up_consent_and_log(hub):
    assert add(hub, "amy", "approver")["next"].startswith(f"lianfang-hub staff add {hub} ")
    add(hub, "otto", "compliance")
    said = add(hub, "paul", "operator", "--as", "amy", code=EXIT_REFUSED)
    assert f"lianfang-hub staff agree {hub} 1 --as NAME" in said
    run("agree", hub, 1, "--as", "otto", "--yes")
    assert add(hub, "paul", "operator", "--as", "amy")["roles"] == ["operator"]
    run("suspend", hub, "paul", "--reason", "left", *BY_TWO)
    states = {item["account"]: item["state"] for item in run("list", hub)["accounts"]}
    assert states == {"amy": "active", "otto": "active", "paul": "suspended"}
    with open_log(HubHome(hub)) as log:
        origin = log.yearly.origin()
        data = log.storage.entries(origin, 0, log.storage.edge(origin).size)
    found = [Entry.decode(item) for item in data]
    assert [(entry.organisation, entry.act, entry.outcome.value) for entry in found] == [
        ("hub", "grant_role", outcome) for outcome in ("done", "done", "refused", "done", "done")
    ]
    assert not any(b"paul" in item for item in data)


def test_an_operator_acts_with_somebody_who_agrees(hub):
    for name, role in (("amy", "approver"), ("otto", "compliance")):
        add(hub, name, role)
    add(hub, "paul", "operator", *BY_TWO)
    with open_log(HubHome(hub)) as log:
        who = acting(hub, log.office, name="paul", second="amy")
        assert isinstance(who.facts(log.office), Facts)
        assert log.office.decide(
            "end_epoch", by=who.by, facts=who.facts(log.office, reason="leaked")
        ).allowed


def test_a_directory_that_is_no_hub_stays_as_it_is(tmp_path):
    run("list", tmp_path, code=EXIT_CONFIG)
    assert list(tmp_path.iterdir()) == []
