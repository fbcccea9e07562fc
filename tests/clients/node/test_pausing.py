"""A paused node refuses what is new, durably and with its reason, and ends what was begun."""

import json
import stat
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import typer
from typer.testing import CliRunner

from clients.acting import acting
from clients.node.cli_standing import leave, pause, resume
from clients.node.deciding import decide
from clients.node.files import load_json, store_json
from clients.node.home import Home
from clients.node.session import Session
from clients.node.standing_state import (
    LeftError,
    PausedError,
    Standing,
    State,
    keep_state,
    presence,
    require_answering,
    require_taking_part,
    standing_objection,
    state_of,
)
from clients.office import node_office
from clients.output import explain
from compliance.configuration import ConfigError
from protocols.phase import Status
from protocols.tlog.entry import Outcome, Verb

WHY = "audit of the export until Friday"
app = typer.Typer()
for command in (pause, resume, leave):
    app.command()(command)


def said(*arguments):
    """Run a command; returns its exit code and its JSON, or what it said of an error."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--format", "json"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return explain(result.exception), str(result.exception)
    return result.exit_code, json.loads(result.stdout)


@pytest.fixture
def node(town, staffed):
    (root,) = staffed(town.node("telecom"))
    return root


def test_node_takes_part_until_it_is_paused(town):
    home = Home(town.node("telecom"))
    assert state_of(home) == State()
    assert standing_objection(home) is None
    require_taking_part(home)
    require_answering(home)
    assert json.loads(presence(home))["standing"] == "taking_part"


def test_pause_is_durable_private_and_entered(town, node):
    code, value = said("pause", node, "--reason", WHY)
    assert (code, value["standing"], value["holder_paused"]) == (0, "paused", False)
    home = Home(node)
    assert state_of(home).reason == WHY
    assert stat.S_IMODE((node / "node-state.json").stat().st_mode) == 0o600
    with pytest.raises(PausedError, match=WHY) as caught:
        require_taking_part(home)
    assert caught.value.code == "paused"
    assert standing_objection(home) == ("paused", f"this partner has paused: {WHY}")
    require_answering(home)
    (entry,) = town.entries("telecom")
    assert (entry.act, entry.verb, entry.outcome) == ("refuse_run", Verb.ALTER, Outcome.DONE)
    assert entry.subject_matter == "taking-part/paused"
    assert WHY not in entry.encode().decode()


def test_holder_stops_as_well_where_that_is_wished(town, node):
    assert said("pause", node, "--reason", WHY, "--holder")[0] == 0
    home = Home(node)
    with pytest.raises(PausedError, match=WHY):
        require_answering(home)
    told = json.loads(presence(home))
    assert (told["standing"], told["reason"], told["holder"]) == ("paused", WHY, False)
    assert town.entries("telecom")[0].subject_matter == "taking-part/paused-with-holder"


def test_repeated_pause_keeps_its_beginning(node):
    since = said("pause", node, "--reason", WHY, "--holder")[1]["since"]
    value = said("pause", node, "--reason", "until Monday")[1]
    assert (value["since"], value["reason"], value["holder_paused"]) == (
        since, "until Monday", False,
    )  # fmt: skip


def test_resumed_node_takes_part_again(town, node):
    said("pause", node, "--reason", WHY)
    code, value = said("resume", node)
    assert (code, value["standing"]) == (0, "taking_part")
    require_taking_part(Home(node))
    assert [entry.subject_matter for entry in town.entries("telecom")] == [
        "taking-part/paused", "taking-part/resumed",
    ]  # fmt: skip
    code, error = said("resume", node)
    assert (code, "not paused" in error) == (4, True)


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501, "a\nb", "a\x1b[2J"])
def test_reason_is_one_readable_line(node, reason):
    code, error = said("pause", node, "--reason", reason)
    assert (code, "--reason" in error) == (4, True)
    assert not (node / "node-state.json").exists()


def test_who_may_refuse_no_run_may_not_pause(town, staffed):
    (root,) = staffed(town.node("telecom"), roles=frozenset({"desk"}))
    code, error = said("pause", root, "--reason", WHY)
    assert (code, "no policy permits refuse_run" in error) == (3, True)
    assert not (root / "node-state.json").exists()
    (entry,) = town.entries("telecom")
    assert (entry.act, entry.outcome) == ("refuse_run", Outcome.REFUSED)


def test_node_that_has_left_is_neither_paused_nor_resumed(node):
    keep_state(Home(node), State(Standing.LEFT, WHY, 1, holder=True))
    for arguments in (("pause", node, "--reason", WHY), ("resume", node)):
        code, error = said(*arguments)
        assert (code, "left for good" in error) == (3, True)
    with pytest.raises(LeftError):
        require_answering(Home(node))


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "{}",
        '{"standing": "gone", "reason": "", "since": 0, "holder": false}',
        '{"standing": "paused", "reason": "", "since": 0, "holder": 1}',
        '{"standing": "paused", "reason": "", "since": "0", "holder": true}',
        '{"standing": ["paused"], "reason": "", "since": 0, "holder": true}',
    ],
)  # fmt: skip
def test_damaged_state_stops_the_node(town, text):
    home = Home(town.node("telecom"))
    (home.root / "node-state.json").write_text(text)
    for asked in (require_taking_part, require_answering, standing_objection, presence):
        with pytest.raises(ConfigError):
            asked(home)


# ---- at the doors ---------------------------------------------------------------------------


def test_new_run_is_refused_with_code_and_reason_and_entered(town, node):
    said("pause", node, "--reason", WHY)
    reply = town.offer("telecom", town.plan())
    assert (reply.status, reply.code) == (Status.REFUSED, "paused")
    assert WHY in reply.reason
    assert not (node / "runs" / "spring").exists()
    assert [entry.act for entry in town.entries("telecom")] == ["refuse_run", "refuse_run"]
    said("resume", node)
    assert town.offer("telecom", town.plan(run="summer")).status is Status.DONE


def test_run_that_was_accepted_before_ends_normally(town, node):
    assert town.offer("telecom", town.plan()).status is Status.DONE
    said("pause", node, "--reason", WHY)
    assert town.ask("telecom", "finish", {}).status is Status.DONE
    assert not list(node.glob("runs/*/ephemeral.key"))


def test_plan_is_not_replaced_while_paused(town, node):
    whole = town.plan(on_refusal="continue")
    assert town.offer("telecom", whole).status is Status.DONE
    said("pause", node, "--reason", WHY)
    assert town.offer("telecom", whole.without("police")).code == "paused"
    assert Session.resume(Home(node), "spring").plan == whole


def test_pause_counts_though_a_person_is_being_asked(town, node):
    town.allow("telecom", decide="hand")
    plan = town.plan()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(town.offer, "telecom", plan, deadline_s=30)
        while not list((node / "inbox").glob("*.json")):
            time.sleep(0.02)
        said("pause", node, "--reason", WHY)
        home = Home(node)
        with node_office(home) as office:
            who = acting(node, office)
            with pytest.raises(PausedError):
                decide(node, plan.run, accept=True, reason="", by=who.by, office=office)
        # As if the person had been quicker than the pause.
        path = node / "inbox" / f"{plan.run}.json"
        store_json(path, load_json(path) | {"decision": {
            "accept": True, "reason": "", "by": who.by.fields(),
        }})  # fmt: skip
        reply = asked.result()
    assert (reply.status, reply.code) == (Status.REFUSED, "paused")
    assert not (node / "runs" / plan.run).exists()
