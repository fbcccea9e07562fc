from types import SimpleNamespace

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from clients.node.app import dispatch, handle
from protocols.phase import PEER_LOST, Status, done, failed, refused
from server.training.flower import FlowerGrid

NODES = {"insurer": 11, "telecom": 12, "police": 13}
BODIES = {name: f'{{"to":"{name}"}}' for name in NODES}


@pytest.fixture(autouse=True)
def identity():
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 7, 1, 3


class Time:
    def __init__(self):
        self.now = 0.0

    def sleep(self, seconds):
        self.now += seconds


class Wire:
    """Flower's grid in process: each node is a function from a message to a reply or None."""

    def __init__(self, nodes, time, *, online_after=None, delay=None):
        self.nodes = nodes
        self.time = time
        self.online_after = online_after or {}
        self.delay = delay or {}
        self.pushed = []

    def get_nodes(self):
        return [
            SimpleNamespace(name=name, node_id=NODES[name])
            for name in self.nodes
            if self.time.now >= self.online_after.get(name, 0)
        ]

    def push_messages(self, messages):
        self.pushed = messages
        for number, message in enumerate(messages):
            message.metadata.__dict__["_message_id"] = f"m{number}"
        return [message.metadata.message_id for message in messages]

    def pull_messages(self, message_ids):
        replies = []
        for message in self.pushed:
            name = next(n for n, i in NODES.items() if i == message.metadata.dst_node_id)
            if message.metadata.message_id not in message_ids:
                continue
            if self.time.now < self.delay.get(name, 0):
                continue
            reply = self.nodes[name](message)
            if reply is not None:
                replies.append(reply)
        return replies


def answering(phase):
    return lambda message: handle(message, phase)


def ask(nodes, deadline_s=60, **settings):
    time = Time()
    wire = Wire(nodes, time, **settings)
    grid = FlowerGrid(wire, "r1", clock=lambda: time.now, sleep=time.sleep)
    answers = grid.ask("align", BODIES, attempt=2, deadline_s=deadline_s)
    assert set(answers) == set(BODIES)
    return answers, time.now, wire


def everybody(phase):
    return {name: answering(phase) for name in NODES}


def test_each_partner_gets_its_own_body_and_answers():
    def echo(request):
        assert (request.run, request.phase, request.attempt) == ("r1", "align", 2)
        return done(request.body)

    answers, *_ = ask(everybody(echo))
    assert {name: answer.body for name, answer in answers.items()} == BODIES


def test_refusal_arrives_with_code_and_reason():
    nodes = everybody(lambda _: done())
    nodes["telecom"] = answering(lambda _: refused("not_agreed", "No."))
    answers, *_ = ask(nodes)
    assert answers["telecom"].status is Status.REFUSED
    assert answers["telecom"].reason == "No."


def test_phase_that_a_node_does_not_do_is_refused():
    answers, *_ = ask(everybody(dispatch({})))
    assert {answer.code for answer in answers.values()} == {"unknown_phase"}


def test_silent_partner_is_named_at_the_deadline():
    nodes = everybody(lambda _: done()) | {"telecom": lambda _: None}
    answers, took, _ = ask(nodes, deadline_s=40)
    assert answers["telecom"].code == "silent"
    assert answers["police"].status is Status.DONE
    assert 40 <= took < 41


def test_others_are_not_waited_for_once_one_has_failed():
    nodes = everybody(lambda _: done())
    nodes["telecom"] = answering(lambda _: failed("budget_exhausted", "spent"))
    nodes["police"] = lambda _: None
    answers, took, _ = ask(nodes, deadline_s=600)
    assert answers["telecom"].code == "budget_exhausted"
    assert answers["police"].code == "abandoned"
    assert took < 15


def test_partner_that_waited_in_vain_does_not_hide_the_silent_one():
    nodes = everybody(lambda _: failed("deadline", "took too long")) | {"telecom": lambda _: None}
    answers, took, _ = ask(nodes, deadline_s=40, delay={"insurer": 30, "police": 30})
    assert answers["telecom"].code == "silent"
    assert answers["insurer"].code == "deadline"
    assert took < 41


def test_partners_give_up_before_the_hub_does():
    for deadline_s, theirs_s in ((600, 590), (30, 20), (9, 6), (1, 1)):
        *_, wire = ask(everybody(lambda _: done()), deadline_s=deadline_s)
        assert {m.content["request"]["deadline_s"] for m in wire.pushed} == {theirs_s}


def test_nobody_is_asked_while_a_partner_is_offline():
    nodes = everybody(lambda _: done())
    answers, took, wire = ask(nodes, deadline_s=600, online_after={"telecom": 10**6})
    assert answers["telecom"].code == "offline"
    assert answers["insurer"].code == "abandoned"
    assert wire.pushed == []
    assert took < 31


def test_partner_that_comes_back_in_time_takes_part():
    answers, *_ = ask(everybody(lambda _: done()), online_after={"telecom": 12})
    assert answers["telecom"].status is Status.DONE


def test_error_of_flower_becomes_a_named_failure():
    nodes = everybody(lambda _: done())
    nodes["telecom"] = lambda message: Message(Error(5, "10.1.2.3 gone"), reply_to=message)
    answers, *_ = ask(nodes)
    assert answers["telecom"].code == "node_unavailable"
    assert "10.1.2.3" not in answers["telecom"].reason


@pytest.mark.parametrize(
    "content",
    [
        RecordDict(),
        RecordDict({"reply": ConfigRecord({"status": "done"})}),
        RecordDict({"reply": ConfigRecord({"status": 1, "code": "", "reason": "", "body": ""})}),
        RecordDict({"other": ConfigRecord({})}),
    ],
)
def test_unreadable_reply_is_a_failure(content):
    nodes = everybody(lambda _: done())
    nodes["telecom"] = lambda message: Message(content, reply_to=message)
    answers, *_ = ask(nodes)
    assert answers["telecom"].code == "malformed_message"


def test_partners_that_lost_another_do_not_hide_it():
    lost = failed(PEER_LOST, "telecom broke off phase align.1: its connection was lost")
    nodes = everybody(lambda _: lost) | {"telecom": lambda _: None}
    answers, took, _ = ask(nodes, deadline_s=600)
    assert answers["telecom"].code == "silent"
    assert took < 15


def test_loss_is_told_at_once_so_that_nobody_waits_for_it():
    time, told = Time(), []
    nodes = everybody(lambda _: done()) | {"police": lambda _: None}
    nodes["telecom"] = answering(lambda _: failed("invalid_table", "no rows"))
    grid = FlowerGrid(
        Wire(nodes, time),
        "r1",
        on_loss=lambda *loss: told.append((time.now, *loss)),
        clock=lambda: time.now,
        sleep=time.sleep,
    )
    grid.ask("align", BODIES, attempt=2, deadline_s=600)
    assert told == [(0.0, "align", 2, "telecom")]
