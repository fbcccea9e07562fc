"""Rounds of FedAvg over Flower's messages: the hub sees a sum, and nothing of less than all."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from clients.node.app import handle
from protocols.errors import MalformedMessageError
from protocols.phase import LEARN, Status, done, refused
from protocols.vertical.averaging import (
    MAX_WEIGHTS,
    decode_reals,
    encode_masked,
    encode_reals,
    mask_update,
)
from server.training.coordinator import Failure
from server.training.flower import FlowerGrid
from server.training.rounds import Group, groups_of, round_attempt, run_rounds

NODES = {"telecom-a": 21, "telecom-b": 22, "insurer": 11, "police": 13}
MEMBERS = ("telecom-a", "telecom-b")
ROWS = {"telecom-a": 30, "telecom-b": 10}
ROUNDS = 3
BODIES = {
    name: json.dumps({"block": "telecom", "rounds": ROUNDS} if name in MEMBERS else {})
    for name in NODES
}
TARGET = {"telecom-a": np.array([1.0, 2.0]), "telecom-b": np.array([3.0, -2.0])}


@pytest.fixture(autouse=True)
def identity():
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 7, 1, 3


class Member:
    """A partner that goes half of its way to its own target in every round."""

    def __init__(self, name):
        self.name = name
        self.asked = []

    def __call__(self, request):
        assert request.phase == LEARN
        body = json.loads(request.body)
        moved = decode_reals(body["moved"])
        self.asked.append((request.attempt, body["round"], moved))
        here = moved if len(moved) else np.zeros(2)
        update = (TARGET[self.name] - here) / 2
        other = next(name for name in MEMBERS if name != self.name)
        key = bytes([request.attempt]) * 32
        words = mask_update(update, ROWS[self.name], self.name, {other: key})
        return done(json.dumps({"update": encode_masked(words), "rows": ROWS[self.name]}))


class Wire:
    """Flower's grid in process; what passes over it is kept."""

    def __init__(self, nodes):
        self.nodes = nodes
        self.now = 0.0
        self.sent, self.replies = {}, {}

    def get_nodes(self):
        return [SimpleNamespace(name=name, node_id=NODES[name]) for name in NODES]

    def push_messages(self, messages):
        found = []
        for message in messages:
            number = f"m{len(self.sent)}"
            message.metadata.__dict__["_message_id"] = number
            self.sent[number] = message
            found.append(number)
        return found

    def pull_messages(self, message_ids):
        found = []
        for number in message_ids:
            message = self.sent[number]
            name = next(n for n, i in NODES.items() if i == message.metadata.dst_node_id)
            reply = self.nodes[name](message)
            if reply is not None:
                self.replies[number] = reply
                found.append(reply)
        return found


def learn(nodes, *, attempt=1):
    wire = Wire(nodes)

    def sleep(seconds):
        wire.now += seconds

    grid = FlowerGrid(wire, "spring", clock=lambda: wire.now, sleep=sleep, grace_s=1.0)
    return grid.ask(LEARN, BODIES, attempt=attempt, deadline_s=60), wire


def way(number):
    """Return where the rounds lead: half of the way to the mean by rows, each time."""
    mean = (30 * TARGET["telecom-a"] + 10 * TARGET["telecom-b"]) / 40
    return mean * (1 - 0.5**number)


def test_rounds_of_fedavg_average_by_rows():
    members = {name: Member(name) for name in MEMBERS}
    answers, wire = learn({n: lambda m, one=one: handle(m, one) for n, one in members.items()})
    for name in NODES:
        assert answers[name].status is Status.DONE
        body = json.loads(answers[name].body)
        if name in MEMBERS:
            assert np.allclose(decode_reals(body["moved"]), way(ROUNDS), atol=1e-5)
        else:
            assert body == {}
    # One message a round and member, of nobody else, with the common weights of the round.
    assert len(wire.sent) == ROUNDS * len(MEMBERS)
    for one in members.values():
        assert [asked[:2] for asked in one.asked] == [(1, 1), (2, 2), (3, 3)]
        for attempt, _, moved in one.asked:
            expected = way(attempt - 1) if attempt > 1 else np.zeros(0)
            assert np.allclose(moved, expected, atol=1e-5)
    assert {m.metadata.message_type for m in wire.sent.values()} == {"train.learn"}


def test_flower_carries_masked_words_as_arrays():
    members = {name: Member(name) for name in MEMBERS}
    _, wire = learn({n: lambda m, one=one: handle(m, one) for n, one in members.items()})
    for reply in wire.replies.values():
        assert set(reply.content) == {"reply", "arrays", "metrics"}
        assert reply.content["reply"]["body"] == "{}"
        (words,) = reply.content["arrays"].to_numpy_ndarrays()
        # An update in the clear would be far below.
        assert words.dtype == np.int64
        assert np.abs(words).min() > 2**40
        assert dict(reply.content["metrics"]) in ({"num-examples": 30}, {"num-examples": 10})


def broken(kind):
    def answer(message):
        number = message.content["request"]["server-round"]
        if number < 2:
            return handle(message, Member("telecom-b"))
        match kind:
            case "refuses":
                return handle(message, lambda _: refused("budget_exhausted", "no more"))
            case "error":
                return Message(Error(code=5, reason="gone"), reply_to=message)
            case "silent":
                return None
            case "nonsense":
                return Message(RecordDict({"reply": ConfigRecord({"x": 1})}), reply_to=message)
        raise AssertionError

    return answer


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("refuses", "budget_exhausted"),
        ("error", "node_unavailable"),
        ("silent", "silent"),
        ("nonsense", "malformed_message"),
    ],
)
def test_round_without_a_member_is_void(kind, code):
    first = Member("telecom-a")
    answers, _ = learn({"telecom-a": lambda m: handle(m, first), "telecom-b": broken(kind)})
    assert answers["telecom-b"].code == code
    assert answers["telecom-a"] == Failure(
        "abandoned", "the round is void, because another member fell out"
    )
    assert [asked[1] for asked in first.asked] == [1, 2]


def test_member_without_masks_that_cancel_ends_the_run():
    def other_key(request):
        words = mask_update(np.ones(64), 10, "telecom-b", {"telecom-a": b"x" * 32})
        return done(json.dumps({"update": encode_masked(words), "rows": 10}))

    def ours(request):
        words = mask_update(np.ones(64), 10, "telecom-a", {"telecom-b": b"y" * 32})
        return done(json.dumps({"update": encode_masked(words), "rows": 10}))

    with pytest.raises(MalformedMessageError, match="masks do not cancel"):
        learn({"telecom-a": lambda m: handle(m, ours), "telecom-b": lambda m: handle(m, other_key)})


def test_request_without_weights_is_refused():
    message = Message(
        RecordDict({"request": ConfigRecord({"a": 1}), "arrays": ArrayRecord([])}),
        dst_node_id=21,
        message_type="train.learn",
    )
    assert handle(message, Member("telecom-a")).content["reply"]["code"] == "malformed_message"


def test_rounds_over_the_link_lead_to_the_same():
    members = {name: Member(name) for name in MEMBERS}
    numbers = []

    def ask(number, bodies):
        numbers.append(number)
        found = {}
        for name, body in bodies.items():
            request = SimpleNamespace(phase=LEARN, body=body, attempt=round_attempt(1, number))
            found[name] = members[name](request)
        return found

    answers = run_rounds(Group("telecom", MEMBERS, ROUNDS), ask)
    assert numbers == [1, 2, 3]
    for name in MEMBERS:
        moved = decode_reals(json.loads(answers[name].body)["moved"])
        assert np.allclose(moved, way(ROUNDS), atol=1e-5)


def test_no_round_has_the_number_of_another():
    numbers = [round_attempt(attempt, number) for attempt in range(1, 9) for number in range(1, 9)]
    assert len(set(numbers)) == len(numbers)
    assert numbers == sorted(numbers)


def test_groups_are_read_from_the_bodies():
    assert groups_of(BODIES) == (Group("telecom", MEMBERS, ROUNDS),)
    assert groups_of(dict.fromkeys(NODES, "{}")) == ()


def test_too_many_weights_are_malformed():
    with pytest.raises(MalformedMessageError):
        decode_reals(encode_reals(np.zeros(MAX_WEIGHTS + 1)))
