"""`lianfang audit integrity` over a node's own log: text, JSON, and who may ask."""

import json
import sqlite3
from contextlib import closing

import pytest
import typer
from typer.testing import CliRunner

from clients.audit.cli_integrity import integrity
from clients.output import explain

app = typer.Typer()
app.command()(integrity)


def run(*arguments, code=0):
    done = CliRunner().invoke(app, [str(item) for item in arguments])
    ended = done.exit_code
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        ended = explain(done.exception)
        assert ended == code, str(done.exception)
        return str(done.exception)
    assert ended == code, done.output + done.stderr
    return done.stdout


@pytest.fixture
def node(ring, staffed):
    staffed(ring.node("insurer"))
    return ring.node("insurer")


def test_own_log_is_stated_as_text_and_json(node):
    text = run(node)
    assert "holds. 1 entries" in text
    assert "gaps: none" in text
    assert "to be kept until" in text
    value = json.loads(run(node, "--format", "json"))
    assert (value["holds"], value["witness"]) == (True, None)
    (log,) = value["logs"]
    assert (log["size"], log["gaps"], log["may_be_deleted"]) == (2, [], False)


def test_only_officers_are_told(node, staffed):
    staffed(node, roles=frozenset({"desk"}))
    assert "read_log: denied" in run(node, code=3)


def test_log_that_was_changed_on_disk_ends_with_an_error(node):
    run(node)
    with closing(sqlite3.connect(node / "log" / "log.sqlite")) as database:
        ((data,),) = database.execute("select data from tlog_entry where place = 0").fetchall()
        changed = data.replace(b'"count":0', b'"count":9')
        assert changed != data
        database.execute("update tlog_entry set data = ? where place = 0", (changed,))
        database.commit()
    assert "tiles and edge disagree" in run(node, code=1)


def test_neither_log_nor_node_ends_with_4(tmp_path):
    run(tmp_path / "none", code=4)
