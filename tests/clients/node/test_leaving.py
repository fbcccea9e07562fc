"""Leaving: nothing new, runs ended, shares destroyed, agreements revoked, all of it told."""

import json
import shutil

import pytest
import typer
from typer.testing import CliRunner

from clients.audit.home import AuditHome
from clients.node import leaving
from clients.node.cli_standing import leave, pause, resume
from clients.node.home import Home
from clients.node.spending import open_ledger, reserve
from clients.node.standing_state import Standing, state_of
from clients.output import explain
from compliance.agreement.revocation import Revocation
from compliance.agreement.standing import State as Stage
from protocols.phase import Status
from protocols.tlog.entry import Outcome

WHY = "the cooperation ends"
app = typer.Typer()
for command in (leave, pause, resume):
    app.command()(command)


def said(*arguments):
    """Run a command; returns its exit code and its JSON, or what it said of an error."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--format", "json"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return explain(result.exception), str(result.exception)
    return result.exit_code, json.loads(result.stdout)


@pytest.fixture
def node(town, staffed):
    """The telecom's node, with an accepted run that holds a reservation."""
    (root,) = staffed(town.node("telecom"))
    plan = town.plan()
    assert town.offer("telecom", plan).status is Status.DONE
    reserve(Home(root), plan, town.agreed.agreement)
    return root


def left(node):
    """Leave; the hub of this town does not answer, which the exit code says."""
    code, value = said("leave", node, "--reason", WHY, "--yes")
    assert (code, value["sent"]) == (1, False)
    return value


def test_all_that_binds_is_ended(town, node):
    digest = town.agreed.agreement.digest
    value = left(node)
    assert (value["runs_ended"], value["revoked"]) == (["spring"], [digest.hex()])
    home = Home(node)
    assert (state_of(home).standing, state_of(home).reason) == (Standing.LEFT, WHY)
    with open_ledger(home) as ledger:
        assert ledger.open_runs() == {}
    assert (node / "runs" / "spring" / "record.json").exists()
    assert not list(node.glob("runs/*/ephemeral.key"))
    store = AuditHome(home).agreements()
    assert store.state(digest, value["at"]) is Stage.REVOKED
    (file,) = value["revocations"]
    revocation = Revocation.decode((node / file).read_bytes())
    assert (revocation.party, revocation.reason) == ("telecom", WHY)
    assert "agreement sync" in value["next"]


def test_every_step_is_entered_before_it_is_done(town, node):
    left(node)
    found = [(entry.act, entry.outcome) for entry in town.entries("telecom")]
    assert found == [
        ("accept_run", Outcome.DONE), ("revoke_agreement", Outcome.DONE), ("compute", Outcome.DONE),
    ]  # fmt: skip
    entry = town.entries("telecom")[1]
    assert entry.document == town.agreed.agreement.digest
    assert set(entry.recipients) == {"hub", "insurer", "police"}


def test_nothing_new_is_done_afterwards(town, node):
    left(node)
    reply = town.offer("telecom", town.plan(run="summer"))
    assert reply.status is Status.REFUSED
    assert reply.code == "left"
    assert said("resume", node)[0] == 3


def test_key_shares_are_destroyed(node):
    shares, drafts = node / "holder" / "shares", node / "holder" / "drafts"
    for path in (shares / "3.0.share", shares / "4.1.share", drafts / f"{'ab' * 16}.share"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"secret of a share")
    value = left(node)
    assert value["shares_destroyed"] == [3, 4]
    assert [path for path in (node / "holder").rglob("*") if path.is_file()] == []
    assert any("epoch 3, 4" in step for step in value["hub_must"])


def test_it_says_what_is_kept_until_when_and_what_the_hub_must_do(node):
    value = left(node)
    assert json.loads((node / "left.json").read_text())["kept"] == value["kept"]
    kept = {place: item["until"] for item in value["kept"] for place in item["where"]}
    assert {"log", "agreements", "ledger", "runs", "keys"} <= kept.keys()
    assert "feed" not in kept  # it has none
    # 84 months of the log and 24 of models, by the agreement.
    assert int(kept["log"][:4]) - int(kept["runs"][:4]) == 5
    assert kept["log"].endswith("-01")
    assert all("telecom" in step or "share" in step for step in value["hub_must"])


def test_months_are_counted_to_the_first_day_after():
    assert leaving._after(0, 0) == "1970-02-01"
    assert leaving._after(0, 11) == "1971-01-01"
    assert leaving._after(0, 84) == "1977-02-01"


def test_text_tells_the_same_to_people(node):
    result = CliRunner().invoke(app, ["leave", str(node), "--reason", WHY, "--yes"])
    assert result.exit_code == 1
    for part in ("Kept here:", "The hub's operator must:", "does not have the revocations yet"):
        assert part in result.stdout


def test_it_asks_first(node):
    result = CliRunner().invoke(app, ["leave", str(node), "--reason", WHY], input="n\n")
    assert result.exit_code == 1
    assert state_of(Home(node)).standing is Standing.TAKING_PART


def test_program_may_not_leave_and_nothing_changes(town, node, monkeypatch):
    for name in ("LIANFANG_AS", "LIANFANG_SECOND"):
        monkeypatch.delenv(name)
    before = town.files("telecom")
    assert said("leave", node, "--reason", WHY, "--yes")[0] == 3
    assert town.files("telecom") == before
    assert town.entries("telecom")[-1].outcome is Outcome.REFUSED


def test_what_a_crash_broke_off_is_finished_by_the_same_command(town, node, monkeypatch):
    def crash(*_):
        raise ZeroDivisionError

    for step in ("_end_runs", "_destroy_shares", "_revoke", "kept"):
        with monkeypatch.context() as broken:
            broken.setattr(leaving, step, crash)
            with pytest.raises(ZeroDivisionError):
                said("leave", node, "--reason", WHY, "--yes")
        # Whatever was not reached, nothing new begins any more.
        assert state_of(Home(node)).standing is Standing.LEFT
    value = left(node)
    assert value["revoked"] == [town.agreed.agreement.digest.hex()]
    assert (node / "left.json").exists()


def test_repetition_changes_nothing(town, node):
    first = left(node)
    size = len(town.entries("telecom"))
    code, again = said("leave", node, "--reason", "another reason", "--yes")
    assert (code, again["reason"]) == (1, WHY)
    assert again["revoked"] == first["revoked"]
    assert state_of(Home(node)).reason == WHY
    assert len(town.entries("telecom")) == size


def test_node_without_an_agreement_leaves_by_a_person_too(town, staffed):
    (root,) = staffed(town.node("telecom"))
    shutil.rmtree(root / "agreements")
    code, value = said("leave", root, "--reason", WHY, "--yes")
    assert (code, value["revoked"], value["sent"]) == (0, [], True)
    (entry,) = town.entries("telecom")
    assert (entry.act, entry.document) == ("revoke_agreement", None)
