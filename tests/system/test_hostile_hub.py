"""A hub that does not do as it should: other plans for some, frames replayed, moved, forged.

The hub's own program runs, in a process where the one thing that it does wrong is put in.
"""

import pytest

PARTNERS = ("insurer", "telecom", "police")
DEADLINE_S = 30

# The telecom is told another plan than the others, one that its policy allows.
TAMPERING = """
import json
from dataclasses import replace

from protocols.vertical.plan import TrainingPlan
from server.training import conduct


def before(self, phase, nodes, honest=conduct.Training.before):
    bodies = dict(honest(self, phase, nodes))
    if phase == "plan":
        told = replace(self._plan, **CHANGES)
        bodies["telecom"] = json.dumps({"plan": told.encode().decode()})
    return bodies


conduct.Training.before = before

from server.cli import main

main()
"""

# What the telecom sends to the police in training is touched on its way, once.
RELAYING = """
from protocols.link import Envelope, Kind, PAYLOAD_KINDS
from server.link import run

LATEST, HELD, COUNT = [], [], [0]


def put(self, label, sender, recipient, frame, timeout_s=None, honest=run.Run.put, **rest):
    def on(data):
        honest(self, label, sender, recipient, data, timeout_s, **rest)

    if (label, sender, recipient) != ("train.1", "telecom", "police"):
        return on(frame)
    COUNT[0] += 1
    if COUNT[0] != AT and not HELD:
        return on(frame)
    envelope = Envelope.decode(frame)
    body = bytearray(envelope.body)
    match ACT:
        case "replay":
            on(frame)
            on(frame)
        case "reorder":
            if not HELD:
                HELD.append(frame)
            else:
                on(frame)
                on(HELD.pop())
        case "flip":
            body[-1] ^= 1
            on(Envelope(self.name, label, envelope.kind, sender, bytes(body)).encode())
        case "forge":
            on(Envelope(self.name, label, envelope.kind, sender, bytes(len(body))).encode())
        case "short":
            on(Envelope(self.name, label, envelope.kind, sender, bytes(3)).encode())


run.Run.put = put

from server.cli import main

main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", ['{"epsilon": 0.5}', '{"min_rows": 101}', '{"membership": "hidden", "steps": 7}']
)
def test_other_plan_for_one_partner_never_gets_past_the_announcements(place, changes):
    place.propose("two-faced", deadline_s=DEADLINE_S)
    hub = ("-c", TAMPERING.replace("CHANGES", changes))
    ended = place.run_directly("two-faced", hub=hub)
    assert ended["hub"] == 1
    state = place.state("two-faced")
    assert state["state"] == "failed"
    assert {step["phase"] for step in state["steps"]} == {"plan", "align"}
    # Everyone finds out: the telecom of the others, the others of the telecom.
    assert {t["party"] for t in state["trouble"]} == set(PARTNERS)
    for trouble in state["trouble"]:
        assert (trouble["phase"], trouble["code"]) == ("align", "invalid_proof")
        assert "signature does not hold for this run and plan" in trouble["reason"]
    for name in PARTNERS:
        assert place.charges(name, "two-faced") == []
        assert not place.reserves(name, "two-faced")
        assert not list(place.node_run(name, "two-faced").glob("*.key"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("act", "code", "words"),
    [
        ("replay", "out_of_turn", "from telecom, expected frame"),
        ("reorder", "out_of_turn", "from telecom, expected frame"),
        ("flip", "invalid_proof", "frame from telecom: not sealed by it"),
        ("forge", "malformed_message", "frame from telecom: unknown version 0"),
        ("short", "malformed_message", "frame from telecom: 3 bytes, need at least"),
    ],
)
def test_touched_frame_ends_the_phase_and_is_not_applied(place, act, code, words):
    place.propose("touched", deadline_s=DEADLINE_S, steps=8)
    hub = ("-c", f"ACT, AT = {act!r}, 12\n{RELAYING}")
    ended = place.run_directly("touched", hub=hub)
    assert ended["hub"] == 1
    state = place.state("touched")
    assert state["state"] == "failed"
    (trouble,) = state["trouble"]
    assert (trouble["party"], trouble["phase"], trouble["code"]) == ("police", "train", code)
    assert words in trouble["reason"]
    charged = {}
    for name in PARTNERS:
        steps = [label for label in place.charges(name, "touched") if label.startswith("train/")]
        charged[name] = len(steps)
        assert not place.reserves(name, "touched")
        assert not (place.node_run(name, "touched") / "weights.npy").exists()
        assert not list(place.node_run(name, "touched").glob("checkpoint-*"))
    # It was noticed in the middle, and nobody went further than the frame let it.
    assert 0 < charged["police"] < 8
    assert max(charged.values()) - min(charged.values()) <= 1
