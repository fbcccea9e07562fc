import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import MalformedMessageError
from protocols.link import (
    CLOSED_GRACE_S,
    SILENT_GRACE_S,
    Kind,
    Resumption,
    acknowledgement,
    grace_s,
)
from protocols.replay import Replay

frames = st.binary(min_size=1, max_size=20)


@given(st.lists(st.one_of(frames, st.sampled_from(["take", "lose", "acknowledge"]))))
def test_every_frame_arrives_once_and_in_order(steps):
    """Whatever is lost and whenever: the other end has all, after one more connection."""
    replay, sent, arrived, on_line = Replay(), [], [], 0
    for step in steps:
        match step:
            case bytes():
                replay.put(step)
                sent.append(step)
            case "take" if len(replay):
                arrived.append(replay.take(keep=True))
            case "lose":
                # What was on its way is lost from some frame on; the other end says which.
                on_line = max(on_line, len(arrived) - 2)
                del arrived[on_line:]
                replay.rewind(on_line)
            case "acknowledge":
                on_line = len(arrived)
                replay.acknowledge(on_line)
        assert replay.waiting_bytes + replay.held_bytes == sum(map(len, sent[on_line:]))
    replay.rewind(on_line)
    del arrived[on_line:]
    while len(replay):
        arrived.append(replay.take(keep=True))
    assert arrived == sent
    replay.acknowledge(len(sent))
    assert replay.empty
    assert (replay.waiting_bytes, replay.held_bytes) == (0, 0)


@pytest.mark.parametrize("count", [0, 1, 4, 2**63])
def test_count_of_what_never_was_is_malformed(count):
    replay = Replay()
    for _ in range(3):
        replay.put(b"x")
    for _ in range(3):
        replay.take(keep=True)
    replay.acknowledge(2)
    for act in (replay.acknowledge, replay.rewind):
        with pytest.raises(MalformedMessageError, match="expected 2 to 3"):
            act(count)
    replay.acknowledge(3)


def test_frame_that_waits_again_may_be_dropped():
    replay = Replay()
    for body in (b"a", b"b"):
        replay.put(body)
        replay.take(keep=True)
    assert replay.rewind(1) == 1
    replay.drop_waiting()
    replay.put(b"notice")
    assert replay.take(keep=True) == b"notice"
    replay.acknowledge(2)
    assert replay.empty


def test_frame_that_is_not_kept_counts_as_arrived():
    replay = Replay()
    replay.put(b"a")
    assert replay.take(keep=False) == b"a"
    replay.acknowledge(1)
    assert replay.held_bytes == 0


@given(st.binary(min_size=16, max_size=16), st.integers(0, 2**64 - 1))
def test_resumption_survives_the_wire(session, received):
    found = Resumption.decode(Resumption(session, received).encode())
    assert (found.session, found.received) == (session, received)
    assert session.hex() not in repr(found)


@given(st.binary(max_size=40))
def test_any_bytes_are_a_resumption_or_malformed(data):
    try:
        found = Resumption.decode(data)
    except MalformedMessageError:
        assert len(data) != 24
        return
    assert found.encode() == data


def test_acknowledgement_carries_its_count():
    found = acknowledgement("run-1", "train.1", 300)
    assert (found.kind, found.count) == (Kind.ACK, 300)


def test_silence_before_the_end_is_a_lost_line():
    assert grace_s(3.1) == CLOSED_GRACE_S
    assert grace_s(12.0) == SILENT_GRACE_S
    assert grace_s(12.0, 30) == 30
    assert grace_s(0.0, 2) == 2
