"""Runs over Flower that a partner refuses, by hand or by its policy, or in which one is lost."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from clients.demo.bringing_up import run_command

PARTNERS = ("insurer", "telecom", "police")
REASON = "The agreement with this purpose ends on Friday."


def start_run(place, run: str) -> subprocess.Popen:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "server.cli", "run", str(place.hub), run),
            *("--wait", "60", "--format", "json"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="session")
def refused(served, wait_for):
    """A run that the telecom's people refused by hand; what its command said."""
    served.set_policy("telecom", decide="hand")
    served.propose("declined")
    command = start_run(served, "declined")
    waiting = served.node("telecom") / "inbox" / "declined.json"
    wait_for(waiting.exists, 60)
    said = run_command("lianfang", "node", "inbox", str(served.node("telecom")), "--format", "json")
    assert [item["state"] for item in json.loads(said)["runs"]] == ["waiting for you"]
    run_command(
        "lianfang", "node", "refuse", str(served.node("telecom")), "declined", "--reason", REASON
    )
    output, errors = command.communicate(timeout=60)
    assert errors == ""
    return command.returncode, json.loads(output)["state"]


def test_refusal_by_hand_ends_the_run_with_its_reason(served, refused):
    code, state = refused
    assert code == 1
    assert state["state"] == "refused"
    (trouble,) = state["trouble"]
    assert (trouble["party"], trouble["phase"]) == ("telecom", "plan")
    assert (trouble["code"], trouble["reason"]) == ("by_hand", REASON)
    assert served.record("declined")["outcome"] == "refused"
    assert not any(served.record("declined")["privacy"]["releases"].values())


def test_refused_run_costs_nobody_anything(served, refused):
    for name in PARTNERS:
        assert served.charges(name, "declined") == []
        assert not served.reserves(name, "declined")
        assert not list(served.node_run(name, "declined").glob("*.key"))


def test_run_is_started_once(served, refused):
    again = start_run(served, "declined")
    _, errors = again.communicate(timeout=60)
    assert again.returncode == 4
    assert "was started before; propose it again under another name" in errors


@pytest.mark.slow
def test_run_goes_on_without_the_partner_whose_policy_refuses(served, refused):
    served.set_policy("telecom", decide="policy", max_epsilon=0.5)
    served.propose("smaller", on_refusal="continue", deadline_s=240)
    command = start_run(served, "smaller")
    output, errors = command.communicate(timeout=240)
    state = json.loads(output)["state"]
    assert (command.returncode, state["state"]) == (0, "done"), (state["trouble"], errors)
    assert state["nodes"] == ["insurer", "police"]
    (trouble,) = state["trouble"]
    assert (trouble["party"], trouble["phase"], trouble["code"]) == ("telecom", "plan", "epsilon")
    assert "over this partner's 0.5" in trouble["reason"]
    record = served.record("smaller")
    assert set(record["plan"]["compute"]) == {"insurer", "police", "hub"}
    assert set(record["data"]["encoded_columns"]) == {"police"}
    assert record["privacy"]["epsilon_spent"] <= 1.0
    assert record["metrics"]["scores"] == 900
    # The hub computed: shares of the others' columns went to it, and nothing to the telecom.
    assert "hub" in record["bytes"]["by_partner"]["police"]["train.1"]
    assert all("telecom" not in to for to in record["bytes"]["by_partner"]["police"].values())
    assert served.charges("telecom", "smaller") == []
    assert not (served.node_run("telecom", "smaller") / "plan.json").exists()
    for name in ("insurer", "police"):
        told = [release["label"] for release in record["privacy"]["releases"][name]]
        assert served.charges(name, "smaller") == told
        assert sum(label.startswith("train/step/") for label in told) == 6
        assert not served.reserves(name, "smaller")
        assert not list(served.node_run(name, "smaller").glob("*.key"))


@pytest.mark.slow
def test_node_killed_in_training_is_named_and_the_next_run_works(
    served, refused, wait_for, restart_nodes
):
    served.set_policy("telecom", decide="policy", max_epsilon=1.0)
    served.propose("cut", steps=400, deadline_s=60)
    journal = served.node("telecom") / "ledger" / "budget.journal"
    before = journal.stat().st_size
    command = start_run(served, "cut")
    wait_for(lambda: journal.stat().st_size > before + 6_000, 120)
    node = next(p for p in served.started if p.args[-1] == str(served.node("telecom")))
    for pid in reversed(descendants(node.pid)):
        os.kill(pid, signal.SIGKILL)
    node.wait()
    output, errors = command.communicate(timeout=150)
    state = json.loads(output)["state"]
    assert (command.returncode, state["state"]) == (1, "failed"), errors
    assert [(t["party"], t["phase"]) for t in state["trouble"]] == [("telecom", "train")]
    train = state["steps"][-1]
    assert train["phase"] == "train"
    assert train["ended"] - train["started"] <= 60
    assert {train["nodes"][name]["code"] for name in ("insurer", "police")} == {"peer_lost"}
    steps = {}
    for name in PARTNERS:
        labels = [label for label in served.charges(name, "cut") if label.startswith("train/")]
        assert labels == [f"train/step/{step}/attempt/1" for step in range(len(labels))]
        steps[name] = len(labels)
    assert 20 < min(steps.values()) <= max(steps.values()) <= min(steps.values()) + 1 < 400
    for name in ("insurer", "police"):
        assert not served.reserves(name, "cut")
        assert not list(served.node_run(name, "cut").glob("*.key"))
    restart_nodes(served, ["telecom"])
    served.propose("again", deadline_s=240)
    command = start_run(served, "again")
    output, errors = command.communicate(timeout=240)
    assert json.loads(output)["state"]["state"] == "done", (output, errors)
    assert {
        name: sum(label.startswith("train/") for label in served.charges(name, "cut"))
        for name in PARTNERS
    } == steps


def descendants(pid: int) -> list[int]:
    """A process and all that it started, parents first; whoever starts a session counts too."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[1].split()[1])
    found = [pid]
    for known in found:
        found += [child for child, parent in parents.items() if parent == known]
    return found
