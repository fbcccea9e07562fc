"""A partner that is revoked while a run goes on: named, asked no more, and not waited for."""

import json
import threading
import time
from types import SimpleNamespace

import pytest
from flwr.app import Message
from flwr.supercore.task_identity import TaskIdentity

from clients.node.app import handle
from protocols.phase import LEARN, PEER_LOST, PhaseReply, done, failed
from server.keeping.place import keeping_of
from server.link.relay import Relay
from server.training.coordinator import REVOKED, Coordinator, Failure, State
from server.training.direct import LinkGrid
from server.training.flower import FlowerGrid
from server.training.plan import RunPlan
from server.training.revoked import revoked_at

NODES = {"insurer": 11, "telecom": 12, "police": 13}
PLAN = RunPlan(run="r1", kind="check", nodes=tuple(NODES))
GONE = "police"


class Handlers:
    """Asks each partner's handler directly; one that was revoked must not be asked again."""

    def __init__(self, handlers, gone):
        self.handlers = handlers
        self.gone = gone
        self.asked = []

    def ask(self, phase, bodies, *, attempt, deadline_s):
        assert self.gone.isdisjoint(bodies), phase
        self.asked.append((phase, tuple(bodies)))
        return {name: self.handlers[name](phase) for name in bodies}


class Part:
    """The hub's part; keeps what the partners told at the end."""

    def __init__(self):
        self.told, self.outcome = {}, None

    def before(self, phase, nodes):
        return dict.fromkeys(nodes, "{}")

    def after(self, phase, bodies):
        self.told[phase] = set(bodies)

    def close(self, outcome):
        self.outcome = outcome


def run(handlers, gone, plan=PLAN):
    grid, part, kept = Handlers(handlers, gone), Part(), []
    final = Coordinator(
        plan, grid, part, record=kept.append, clock=lambda: 5, is_revoked=gone.__contains__
    ).run()
    assert kept[-1] == final
    assert part.outcome == "failed"
    return final, grid, part


def shut_out_in(phase_of_it, gone, answer):
    """Return a handler that is revoked in a phase, and answers so in it."""

    def handler(phase):
        if phase != phase_of_it:
            return done()
        gone.add(GONE)
        return answer

    return handler


@pytest.mark.parametrize(
    "answer", [failed("internal_error", "cut off"), Failure("offline", "it is not there"), done()]
)
def test_revoked_partner_is_named_so_and_the_others_close_the_run(answer):
    gone = set()
    handlers = dict.fromkeys(NODES, lambda _: done()) | {GONE: shut_out_in("train", gone, answer)}
    final, grid, part = run(handlers, gone)
    assert final.state is State.FAILED
    ((party, code),) = [(trouble.party, trouble.code) for trouble in final.trouble]
    assert (party, code) == (GONE, "revoked")
    assert grid.asked[-2:] == [("finish", ("insurer",)), ("finish", ("telecom",))]
    # What the others spent stands in the record.
    assert part.told["finish"] == {"insurer", "telecom"}


def test_others_that_lost_the_revoked_partner_are_not_blamed():
    gone = set()

    def lost(phase):
        return failed(PEER_LOST, "police broke off") if phase == "train" else done()

    handlers = dict.fromkeys(NODES, lost)
    handlers[GONE] = shut_out_in("train", gone, Failure("abandoned", "not waited for"))
    # Nothing is asked twice of who is left without it.
    final, grid, _ = run(handlers, gone, RunPlan("r1", "check", tuple(NODES), attempts=1))
    assert [(item.party, item.phase, item.code) for item in final.trouble] == [
        (GONE, "train", "revoked")
    ]
    assert [phase for phase, _ in grid.asked].count("train") == 1


def test_phase_is_not_asked_for_again_without_the_revoked_partner():
    gone = set()
    answer = failed("internal_error", "cut off")
    handlers = dict.fromkeys(NODES, lambda _: done()) | {GONE: shut_out_in("align", gone, answer)}
    final, grid, _ = run(handlers, gone, RunPlan("r1", "check", tuple(NODES), attempts=3))
    assert final.trouble[0].code == REVOKED
    assert [phase for phase, _ in grid.asked].count("align") == 1


# Over Flower's messages


@pytest.fixture
def identity():
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 7, 1, 3


class Wire:
    """Flower's grid in process, in which the revoked partner never answers."""

    def __init__(self):
        self.now, self.sent = 0.0, {}

    def sleep(self, seconds):
        self.now += seconds

    def get_nodes(self):
        return [SimpleNamespace(name=name, node_id=number) for name, number in NODES.items()]

    def push_messages(self, messages):
        for message in messages:
            number = f"m{len(self.sent)}"
            message.metadata.__dict__["_message_id"] = number
            self.sent[number] = message
        return list(self.sent)[-len(messages) :]

    def pull_messages(self, numbers):
        found: list[Message] = []
        for number in numbers:
            message = self.sent[number]
            if message.metadata.dst_node_id != NODES[GONE]:
                found.append(handle(message, lambda _: failed(PEER_LOST, "police broke off")))
        return found


@pytest.mark.parametrize(("revoked_s", "took_s"), [(0.0, 0.0), (20.0, 20.0)])
@pytest.mark.usefixtures("identity")
def test_flower_does_not_wait_for_a_revoked_partner(revoked_s, took_s):
    wire, told = Wire(), []
    wire.pull_messages = lambda numbers: [] if wire.now < 20 else Wire.pull_messages(wire, numbers)
    grid = FlowerGrid(
        wire, "r1",
        on_loss=lambda *loss: told.append(loss),
        is_revoked=lambda name: name == GONE and wire.now >= revoked_s,
        clock=lambda: wire.now, sleep=wire.sleep,
    )  # fmt: skip
    answers = grid.ask("train", dict.fromkeys(NODES, "{}"), attempt=1, deadline_s=600)
    assert answers[GONE].code == REVOKED
    assert took_s <= wire.now < took_s + 1
    assert len(wire.sent) == (3 if revoked_s else 0)
    assert len(told) == (1 if revoked_s else 0)


@pytest.mark.usefixtures("identity")
def test_flower_ends_a_round_without_its_revoked_member():
    wire = Wire()
    wire.pull_messages = lambda _: []
    grid = FlowerGrid(
        wire, "r1", is_revoked=lambda name: name == GONE and wire.now >= 5,
        grace_s=1.0, clock=lambda: wire.now, sleep=wire.sleep,
    )  # fmt: skip
    body = json.dumps({"block": "kind", "rounds": 2})
    answers = grid.ask(LEARN, dict.fromkeys(NODES, body), attempt=1, deadline_s=600)
    assert wire.now < 7
    assert all(not isinstance(answer, PhaseReply) for answer in answers.values())


# Over the link


def test_link_does_not_wait_for_a_revoked_partner():
    relay, gone = Relay(), set()
    relay.open_run("r1", [*NODES, "hub"])
    grid = LinkGrid(relay, "r1", is_revoked=gone.__contains__)
    timer = threading.Timer(0.2, gone.add, [GONE])
    timer.start()
    began = time.monotonic()
    answers = grid.ask("train", {GONE: "{}"}, attempt=1, deadline_s=60)
    timer.join()
    relay.close()
    assert answers[GONE].code == REVOKED
    assert time.monotonic() - began < 3


# Who is revoked


def test_revoked_is_who_the_hub_revoked_and_nobody_else(tmp_path):
    (tmp_path / "hub.json").write_text("{}")
    is_revoked = revoked_at(tmp_path)
    assert not is_revoked(GONE)
    keeping_of(tmp_path).partners.keep(GONE, {"name": GONE})
    assert not is_revoked(GONE)
    keeping_of(tmp_path).partners.keep(GONE, {"name": GONE, "revoked_at": 5})
    assert is_revoked(GONE)
