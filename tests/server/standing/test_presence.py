"""Who is there: asked over standing streams, told in a line, and waited for before a run."""

import json
import threading
import time

import pytest

from protocols.link import TransportError
from protocols.standing import Answer, Refusal, decode_frame
from server.standing import Standing
from server.standing.presence import (
    ACTION,
    QUESTION,
    Presence,
    Presences,
    absentees,
    await_present,
)

PARTNERS = ("insurer", "police", "telecom")
HERE = {"standing": "taking_part", "reason": "", "since": 0, "holder": True}
PAUSED = {"standing": "paused", "reason": "audit until Friday", "since": 86_400, "holder": True}


@pytest.fixture
def standing():
    made = Standing()
    yield made
    made.close()


def node(standing, name, said):
    """A node whose program answers every question so: with an object, bytes, or a refusal."""
    stream = standing.join(name)
    stream.next_frame()

    def serve():
        while (frame := stream.next_frame()) is not None:
            ask = decode_frame(frame)
            assert ask.kind == QUESTION
            if isinstance(said, tuple):
                reply = Refusal(ask.number, *said)
            else:
                body = said if isinstance(said, bytes) else json.dumps(said).encode()
                reply = Answer(ask.number, body)
            stream.accept(reply.encode())

    threading.Thread(target=serve, daemon=True).start()
    return stream


def found(standing):
    return {presence.name: presence for presence in Presences(standing, lambda: PARTNERS).all()}


def test_each_partner_is_told_as_it_stands(standing):
    node(standing, "telecom", HERE)
    node(standing, "police", PAUSED)
    seen = found(standing)
    assert seen["telecom"].is_there
    assert seen["telecom"].text() == "telecom: there, last seen 0 s ago"
    assert not seen["police"].is_there
    assert seen["police"].text() == "police: paused since 1970-01-02 00:00 UTC: audit until Friday"
    assert not seen["insurer"].is_there
    assert seen["insurer"].text() == "insurer: not connected; not seen since the hub was started"


def test_partner_that_left_its_stream_was_seen_some_time_ago(standing):
    standing.leave(node(standing, "telecom", HERE), "its connection was lost")
    (seen,) = Presences(standing, lambda: ["telecom"]).all()
    assert (seen.connected, seen.is_there) == (False, False)
    assert seen.text() == "telecom: not connected; last seen 0 s ago"
    times = {3.9: "3 s", 119: "119 s", 121: "2 min", 7_200: "2 h", 200_000: "2 d"}
    for seconds, told in times.items():
        line = Presence("telecom", connected=False, seen_s=seconds).text()
        assert line == f"telecom: away; last seen {told} ago"


def test_node_that_does_not_know_the_question_is_there(standing):
    node(standing, "telecom", ("unknown_question", "this holder answers no node.presence"))
    node(standing, "police", ("config_error", "node-state.json: not valid JSON"))
    seen = found(standing)
    assert seen["telecom"].is_there
    assert not seen["police"].is_there
    assert "node-state.json" in seen["police"].text()


@pytest.mark.parametrize(
    "said",
    [b"", b"[]", b"{", HERE | {"standing": "dancing"}, HERE | {"reason": "\x1b[2J"},
     HERE | {"reason": "a" * 501}, HERE | {"since": -1}, HERE | {"since": "1"}],
)  # fmt: skip
def test_answer_that_is_none_is_shown_as_such_and_never_as_it_came(standing, said):
    node(standing, "telecom", said)
    seen = found(standing)["telecom"]
    assert seen.connected
    assert not seen.is_there
    assert seen.text().isprintable()
    assert len(seen.text()) < 200


def test_silent_node_holds_nobody_up(standing, monkeypatch):
    monkeypatch.setattr("server.standing.presence._ANSWER_S", 0.3)
    for name in PARTNERS:
        standing.join(name)
    began = time.monotonic()
    assert all("no answer within 0.3 s" in seen.text() for seen in found(standing).values())
    assert time.monotonic() - began < 0.8


def test_control_request_tells_what_another_process_can_read(standing):
    node(standing, "telecom", HERE)
    told = json.loads(json.dumps(Presences(standing, lambda: PARTNERS).control()))
    assert [Presence(**one).name for one in told["partners"]] == list(PARTNERS)
    assert ACTION == "presence"


def there(*names):
    return [Presence(name, True, "taking_part", seen_s=0.0) for name in names]


def waited(*looks, wait_s=0.0, enough=lambda _: False):
    """Wait for all partners, who are found as in `looks`, one after the other; returns lines."""
    told, left = [], list(looks)
    await_present(
        lambda: left.pop(0) if len(left) > 1 else left[0], PARTNERS,
        enough=enough, wait_s=wait_s, tell=told.append, sleep=lambda _: None,
    )  # fmt: skip
    return told


def test_run_begins_when_everybody_is_there():
    assert waited(there(*PARTNERS)) == []
    assert absentees(there(*PARTNERS), PARTNERS) == []


def test_run_does_not_begin_into_absence():
    with pytest.raises(TransportError, match=r"insurer: away; .*--wait SECONDS") as caught:
        waited(there("police", "telecom"))
    assert caught.value.retryable


def test_waiting_tells_once_who_is_missing_and_ends_when_all_are_there():
    some = there("police", "telecom")
    assert waited(some, some, some, there(*PARTNERS), wait_s=60) == [
        "insurer: away; not seen since the hub was started"
    ]


def test_run_goes_on_without_whom_its_plan_does_not_need():
    assert waited(there("insurer", "police"), enough=lambda left: "insurer" in left) == [
        "telecom: away; not seen since the hub was started"
    ]
