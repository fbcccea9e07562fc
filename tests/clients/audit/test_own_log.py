"""The officer's commands over the organisation's own log: status, export, replay."""

import json

import pytest
from typer.testing import CliRunner

from clients.audit.cli import app
from clients.desk.desk import Desk
from clients.output import explain
from protocols.identifiers import IdentifierKind
from protocols.lookup.request import Purpose


def told(*arguments, code=0):
    """Run a command as `lianfang` does, with its exit codes; returns what it wrote."""
    done = CliRunner().invoke(app, [*map(str, arguments), "--format", "json"])
    ended = done.exit_code
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        ended = explain(done.exception)
    assert ended == code, done.output + done.stderr
    return json.loads(done.stdout) if done.stdout else None


@pytest.fixture
def node(town, person):
    """The insurer's directory, after three checks."""
    root = town.home().root
    with Desk(root, clock=town.clock) as desk:
        for number in range(3):
            desk.check(
                [(IdentifierKind.TW_PERSON_ID, person(number))], purpose=Purpose.COUNTER, case="C-1"
            )
    return root


def test_own_log_is_shown_and_exported_by_permission(node, tmp_path, staffed):
    status = told("own", "status", node)
    assert [year["entries"] for year in status["years"]] == [3]
    out = tmp_path / "log"
    told("own", "export", node, out, "--reason", "yearly review", code=3)  # by no person
    staffed(node)
    found = told("own", "export", node, out, "--reason", "yearly review")
    assert found["size"] == 5  # the refusal and the export are entered too
    assert told("verify", out, "--policy", found["policy"])["entries"] == 5


def test_every_decision_of_the_own_log_is_made_again(node):
    found = told("replay", node)
    assert (found["same"], found["decided"], found["differences"]) == (True, 3, [])


def test_a_policy_set_that_is_gone_is_told(node):
    for path in (node / "policies").glob("*"):
        path.unlink()
    found = told("replay", node, code=1)
    assert len(found["differences"]) == 3
    assert "never kept here" in found["differences"][0]["differences"][0]
