"""Asks of other holders: over streams without a thread each, and in threads where it must be."""

import time
from contextlib import contextmanager
from contextvars import ContextVar

import pytest

from protocols.link import TransportError
from protocols.standing import Answer, Refusal, decode_frame
from server.lookup.asking import Asking
from server.operation.asking import observed_holders
from server.standing import HolderRefusedError, Standing

NAMES = ("police", "telecom")
INSIDE = ContextVar("inside", default="")


class Observer:
    """Notes what was observed, how it ended, and in whose context it stood."""

    def __init__(self):
        self.ended = []

    @contextmanager
    def during(self, work):
        INSIDE.set(work.holder)
        try:
            yield
        except BaseException as error:
            self.ended.append((work.holder, type(error), INSIDE.get()))
            raise
        self.ended.append((work.holder, None, INSIDE.get()))


class Slow:
    """Holders that can only be asked and waited for."""

    def connected(self):
        return frozenset(NAMES)

    def ask(self, holder, kind, body, timeout_s):
        if holder == "police":
            time.sleep(0.05)
            raise TransportError("police: silent", retryable=True, party="police")
        return body.upper()


@pytest.fixture
def standing():
    return Standing()


@pytest.fixture
def streams(standing):
    found = {name: standing.join(name) for name in NAMES}
    for stream in found.values():
        stream.next_frame()  # the greeting
    return found


@pytest.fixture(params=[False, True], ids=["plain", "observed"])
def asking(request, standing):
    made = Asking(observed_holders(standing, Observer()) if request.param else standing)
    yield made
    made.close()


def answer(stream, body=b"answer"):
    stream.accept(Answer(decode_frame(stream.next_frame()).number, body).encode())


def test_answers_are_taken_as_they_come(asking, streams):
    with asking.open(b"ask", 5.0) as asks:
        for name in NAMES:
            asks.begin(name)
        answer(streams["telecom"], b"second")
        name, asked = asks.take()
        assert (name, asked.result(), len(asks)) == ("telecom", b"second", 1)
        answer(streams["police"], b"first")
        name, asked = asks.take()
        assert (name, asked.result(), len(asks)) == ("police", b"first", 0)
    assert not asking.threads._threads


def test_answer_that_came_long_ago_is_taken_at_once(asking, streams):
    with asking.open(b"ask", 0.0) as asks:
        asks.begin("police")
        answer(streams["police"])
        assert asks.take()[1].result() == b"answer"


def test_refusal_and_lost_stream_are_the_takers(asking, standing, streams):
    with asking.open(b"ask", 5.0) as asks:
        asks.begin("police")
        asks.begin("telecom")
        number = decode_frame(streams["police"].next_frame()).number
        streams["police"].accept(Refusal(number, "quota_exhausted", "spent").encode())
        with pytest.raises(HolderRefusedError, match="spent"):
            asks.take()[1].result()
        standing.leave(streams["telecom"], "its connection was lost")
        with pytest.raises(TransportError, match="its connection was lost"):
            asks.take()[1].result()


def test_silent_holder_is_given_up_in_time(asking, streams):
    with asking.open(b"ask", 0.05) as asks:
        asks.begin("police")
        name, asked = asks.take()
        with pytest.raises(TransportError, match="no answer in time"):
            asked.result()
        assert name == "police"
        answer(streams["police"])  # late: nobody's
        asks.begin("telecom")
        answer(streams["telecom"])
        assert asks.take()[0] == "telecom"


def test_holder_that_is_away_cannot_be_asked(asking):
    with asking.open(b"ask", 5.0) as asks, pytest.raises(TransportError, match="not connected"):
        asks.begin("police")


def test_whoever_gives_up_leaves_nothing_waiting(asking, streams):
    with asking.open(b"ask", 5.0) as asks:
        asks.begin("police")
    assert not streams["police"]._waiting
    answer(streams["police"])


def test_asks_are_observed_beside_other_work(standing, streams):
    observer = Observer()
    asking = Asking(observed_holders(standing, observer))
    with asking.open(b"ask", 5.0) as asks:
        asks.begin("police")
        asks.begin("telecom")
        assert INSIDE.get() == ""
        answer(streams["telecom"])
        asks.take()[1].result()
    asking.close()
    assert observer.ended == [
        ("telecom", None, "telecom"), ("police", TransportError, "police"),
    ]  # fmt: skip


def test_holders_that_must_be_waited_for_have_threads():
    asking = Asking(Slow())
    with asking.open(b"ask", 5.0) as asks:
        asks.begin("police")
        asks.begin("telecom")
        name, asked = asks.take()
        assert (name, asked.result()) == ("telecom", b"ASK")
        name, asked = asks.take()
        with pytest.raises(TransportError, match="silent"):
            asked.result()
    asking.close()
