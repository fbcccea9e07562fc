"""A node that is killed in the middle of a phase, over the link.

The node's own program runs, in a process that kills itself with SIGKILL at one exact place:
as a power cut would, with no chance to say or write anything more.
"""

import json
import os
import signal
import time

import pytest

PARTNERS = ("insurer", "telecom", "police")
VICTIM = "telecom"
DEADLINE_S = 30

# Arguments: phase, what, how often, then those of `clients.node.direct`. Every request that
# was performed in training is written down beside the node's directory.
WATCHED = """
import json, os, signal, sys
from pathlib import Path

phase, what, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
sys.argv = [sys.argv[0], *sys.argv[4:]]
journal = Path(sys.argv[1]).with_name(Path(sys.argv[1]).name + "-requests.jsonl")

from clients.node import channel, direct, session

current, seen = "", 0


def at(place):
    global seen
    if current == phase and place == what:
        seen += 1
        if seen == count:
            os.kill(os.getpid(), signal.SIGKILL)


def run(root, request, installed=direct.run_phase):
    global current
    current = request.phase
    at("begin")
    return installed(root, request)


def perform(self, request, installed=channel.Channel._perform):
    answer = installed(self, request)
    if current == "train":
        with journal.open("a") as file:
            kind = type(request).__name__
            print(json.dumps([kind, getattr(request, "label", "")]), file=file)
    at("request")
    return answer


def charger(self, ledger, attempt, installed=session.Session.charger):
    charge = installed(self, ledger, attempt)

    def paid(label, event):
        charge(label, event)
        at("charge")

    return paid


direct.run_phase = run
channel.Channel._perform = perform
session.Session.charger = charger
direct.main()
"""

NEVER = ("-c", WATCHED, "none", "none", "1")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phase", "what", "count"),
    [
        ("plan", "begin", 1),
        ("align", "request", 3),
        ("prepare", "charge", 1),
        ("train", "begin", 1),
        ("train", "charge", 1),
        ("train", "charge", 4),
        ("train", "request", 60),
        ("validate", "request", 2),
        ("score", "request", 2),
        ("finish", "begin", 1),
    ],
)
def test_killed_node_ends_the_run_and_the_next_works(place, phase, what, count):
    place.propose("cut", deadline_s=DEADLINE_S)
    nodes = dict.fromkeys(PARTNERS, NEVER) | {VICTIM: ("-c", WATCHED, phase, what, str(count))}
    started = time.monotonic()
    ended = place.run_directly("cut", nodes=nodes, limit_s=DEADLINE_S + 60)
    assert time.monotonic() - started < DEADLINE_S + 60
    assert ended[VICTIM] == -signal.SIGKILL
    assert ended["hub"] == 1
    state = place.state("cut")
    assert state["state"] == "failed"
    assert [(t["party"], t["phase"]) for t in state["trouble"]] == [(VICTIM, phase)]
    assert f"{VICTIM}, {phase}: " in place.log("hub")
    last = state["steps"][-1]
    assert last["ended"] - last["started"] <= DEADLINE_S
    assert place.record("cut")["outcome"] == "failed"
    if phase == "train":
        check_charges(place)
    survivors = [name for name in PARTNERS if name != VICTIM]
    for name in survivors:
        if phase not in ("plan", "finish"):
            assert not list(place.node_run(name, "cut").glob("*.key"))
        assert not place.reserves(name, "cut")
    after = {name: place.charges(name, "cut") for name in PARTNERS}
    place.propose("again")
    assert place.run_directly("again") == dict.fromkeys(("hub", *PARTNERS), 0), place.log("hub")
    assert place.state("again")["state"] == "done"
    # What the lost run cost stays paid.
    assert {name: place.charges(name, "cut") for name in PARTNERS} == after


def check_charges(place) -> None:
    """No gradient left without its charge, and at most one step was paid in vain."""
    for name in PARTNERS:
        charged = [label for label in place.charges(name, "cut") if label.startswith("train/")]
        requests = place.root / f"{name}-requests.jsonl"
        lines = requests.read_text().splitlines() if requests.exists() else []
        steps: list[bool] = []
        for kind, _ in map(json.loads, lines):
            if kind == "Charge":
                steps.append(False)
            elif kind == "Send" and steps:
                steps[-1] = True
        check_order([kind for kind, _ in map(json.loads, lines)])
        # The last charge may be durable without having been written down here.
        assert len(steps) <= len(charged) <= len(steps) + 1
        assert charged == [f"train/step/{step}/attempt/1" for step in range(len(charged))]
        assert sum(steps) <= len(charged) <= sum(steps) + 1


def check_order(kinds: list[str]) -> None:
    """In every whole step the gradients leave after the charge: never before, and they do leave."""
    paid = sent = False
    for kind in kinds:
        match kind:
            case "Charge":
                paid, sent = True, False
            case "Send":
                sent = True
            case "Checkpoint":
                assert paid
                assert sent
                paid = False


@pytest.mark.slow
def test_killed_hub_leaves_no_node_hanging(place, wait_for):
    place.propose("cut", deadline_s=DEADLINE_S, steps=400)

    def kill(processes):
        journal = place.node(VICTIM) / "ledger" / "budget.journal"
        wait_for(lambda: journal.exists() and journal.stat().st_size > 8_000, 60)
        os.kill(processes["hub"].pid, signal.SIGKILL)

    ended = place.run_directly("cut", meanwhile=kill, limit_s=DEADLINE_S + 60)
    assert ended["hub"] == -signal.SIGKILL
    for name in PARTNERS:
        assert ended[name] == 1
        assert place.log(name).splitlines()[-1].startswith("error: ")
        assert "Traceback" not in place.log(name)
        assert len(place.charges(name, "cut")) > 20
    place.propose("again")
    assert place.run_directly("again") == dict.fromkeys(("hub", *PARTNERS), 0), place.log("hub")
