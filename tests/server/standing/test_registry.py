"""Standing streams without a network: who waits for what, and how a wait ends."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from protocols.errors import MalformedMessageError
from protocols.link import TransportError
from protocols.standing import Answer, Ask, Greeting, Refusal, decode_frame
from server.standing import HolderRefusedError, Standing
from server.standing.stream import MAX_WAITING


@pytest.fixture
def standing():
    return Standing()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(8) as pool:
        yield pool


def joined(standing, name="telecom"):
    stream = standing.join(name)
    assert decode_frame(stream.next_frame()) == Greeting(name)
    return stream


def asked(stream) -> Ask:
    frame = decode_frame(stream.next_frame())
    assert isinstance(frame, Ask)
    return frame


def test_answers_reach_their_askers_in_any_order(standing, pool):
    stream = joined(standing)
    waits = {
        word: pool.submit(standing.ask, "telecom", "evaluate", word, 5)
        for word in (b"first", b"second", b"third")
    }
    questions = [asked(stream) for _ in waits]
    for question in reversed(questions):
        stream.accept(Answer(question.number, question.body.upper()).encode())
    assert {word: wait.result() for word, wait in waits.items()} == {
        b"first": b"FIRST",
        b"second": b"SECOND",
        b"third": b"THIRD",
    }


def test_refusal_carries_holder_code_and_text(standing, pool):
    stream = joined(standing)
    wait = pool.submit(standing.ask, "telecom", "evaluate", b"", 5)
    stream.accept(Refusal(asked(stream).number, "quota_exhausted", "5 of 5 used").encode())
    with pytest.raises(HolderRefusedError, match="telecom refuses: 5 of 5 used") as caught:
        wait.result()
    found = caught.value
    assert (found.holder, found.code, found.text) == ("telecom", "quota_exhausted", "5 of 5 used")


def test_absent_holder_is_a_transport_error(standing):
    with pytest.raises(TransportError, match="not connected") as caught:
        standing.ask("police", "evaluate", b"", 5)
    assert (caught.value.retryable, caught.value.party) == (True, "police")
    assert standing.connected() == frozenset()


def test_silent_holder_ends_the_wait_in_time(standing):
    stream = joined(standing)
    with pytest.raises(TransportError, match="no answer within") as caught:
        standing.ask("telecom", "evaluate", b"", 0.05)
    assert caught.value.retryable
    # The late answer is nobody's, and the stream is as good as before.
    stream.accept(Answer(asked(stream).number, b"late").encode())
    assert standing.connected() == {"telecom"}


def test_lost_stream_fails_its_asks_at_once(standing, pool):
    stream = joined(standing)
    wait = pool.submit(standing.ask, "telecom", "evaluate", b"", 60)
    asked(stream)
    start = time.monotonic()
    standing.leave(stream, "its connection was lost")
    with pytest.raises(TransportError, match="its connection was lost") as caught:
        wait.result()
    assert caught.value.retryable
    assert time.monotonic() - start < 2
    assert standing.connected() == frozenset()


def test_second_stream_replaces_the_first(standing, pool):
    first = joined(standing)
    wait = pool.submit(standing.ask, "telecom", "evaluate", b"", 60)
    asked(first)
    second = joined(standing)
    with pytest.raises(TransportError, match="connected anew"):
        wait.result()
    assert first.next_frame() is None
    # The end of the first, which is noticed late, must not take the second with it.
    standing.leave(first, "its connection was lost")
    assert standing.connected() == {"telecom"}
    again = pool.submit(standing.ask, "telecom", "evaluate", b"again", 5)
    second.accept(Answer(asked(second).number, b"yes").encode())
    assert again.result() == b"yes"


def test_answer_of_one_node_is_never_anothers(standing, pool):
    telecom, police = joined(standing, "telecom"), joined(standing, "police")
    wait = pool.submit(standing.ask, "telecom", "evaluate", b"", 5)
    number = asked(telecom).number
    with pytest.raises(MalformedMessageError):
        police.accept(Answer(number, b"forged").encode())
    telecom.accept(Answer(number, b"true").encode())
    assert wait.result() == b"true"


@pytest.mark.parametrize(
    "frame", [Greeting("telecom"), Ask(0, "evaluate", b""), Answer(0, b""), Refusal(9, "no", "x")]
)
def test_frame_that_no_node_may_send_is_malformed(standing, frame):
    with pytest.raises(MalformedMessageError):
        joined(standing).accept(frame.encode())


def test_second_answer_to_one_question_is_dropped(standing, pool):
    stream = joined(standing)
    wait = pool.submit(standing.ask, "telecom", "evaluate", b"", 5)
    number = asked(stream).number
    stream.accept(Answer(number, b"first").encode())
    stream.accept(Answer(number, b"second").encode())
    assert wait.result() == b"first"


def test_too_many_questions_are_refused_for_a_while(standing):
    stream = joined(standing)
    waits = [
        threading.Thread(target=lambda: failure(standing), daemon=True) for _ in range(MAX_WAITING)
    ]
    for wait in waits:
        wait.start()
    for _ in waits:
        asked(stream)
    with pytest.raises(TransportError, match="wait already") as caught:
        standing.ask("telecom", "evaluate", b"", 5)
    assert caught.value.retryable
    standing.leave(stream, "done")
    for wait in waits:
        wait.join(5)


def test_closed_registry_ends_streams_and_opens_none(standing, pool):
    stream = joined(standing)
    wait = pool.submit(standing.ask, "telecom", "evaluate", b"", 60)
    asked(stream)
    standing.close()
    with pytest.raises(TransportError, match="the hub stops"):
        wait.result()
    assert stream.next_frame() is None
    with pytest.raises(TransportError, match="the hub stops"):
        standing.join("police")


def failure(standing):
    with pytest.raises(TransportError):
        standing.ask("telecom", "evaluate", b"", 60)
