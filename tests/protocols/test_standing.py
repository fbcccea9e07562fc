"""Frames of the standing link: strict in every byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import MalformedMessageError
from protocols.standing import (
    MAX_BODY_SIZE,
    MAX_TEXT,
    Answer,
    Ask,
    Greeting,
    Refusal,
    decode_frame,
    readable,
)

FRAMES = [
    Greeting("telecom"),
    Ask(0, "evaluate", b""),
    Ask(7, "keygen.run", b"body"),
    Answer(2**64 - 1, b"\x00" * 40),
    Refusal(3, "quota_exhausted", "quota: 10 of 10 are used, 配額用完"),
]

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True)
NUMBERS = st.integers(0, 2**64 - 1)
KINDS = st.from_regex(r"[a-z][a-z0-9.-]{0,63}", fullmatch=True)
CODES = st.from_regex(r"[a-z][a-z0-9_]{0,63}", fullmatch=True)
TEXTS = st.text(max_size=50).map(readable)
ANY_FRAME = st.one_of(
    st.builds(Greeting, NAMES),
    st.builds(Ask, NUMBERS, KINDS, st.binary(max_size=60)),
    st.builds(Answer, NUMBERS, st.binary(max_size=60)),
    st.builds(Refusal, NUMBERS, CODES, TEXTS),
)


@pytest.mark.parametrize("frame", FRAMES, ids=repr)
def test_cut_or_lengthened_frame_is_malformed(frame):
    data = frame.encode()
    assert decode_frame(data) == frame
    for cut in range(len(data)):
        with pytest.raises(MalformedMessageError):
            decode_frame(data[:cut])
    with pytest.raises(MalformedMessageError, match="trailing"):
        decode_frame(data + b"\x00")


@given(ANY_FRAME)
def test_frame_survives_the_wire(frame):
    assert decode_frame(frame.encode()) == frame


@given(st.binary(max_size=80) | st.binary(max_size=60).map(lambda rest: b"\x01\x04" + rest))
def test_any_bytes_are_a_frame_or_malformed(data):
    try:
        frame = decode_frame(data)
    except MalformedMessageError:
        return
    assert frame.encode() == data


@pytest.mark.parametrize(
    "change",
    [lambda data: b"\x02" + data[1:], lambda data: data[:1] + b"\x05" + data[2:]],
    ids=["version", "kind"],
)
def test_unknown_version_or_kind_is_malformed(change):
    with pytest.raises(MalformedMessageError):
        decode_frame(change(FRAMES[1].encode()))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Greeting("Telecom"),
        lambda: Ask(-1, "evaluate", b""),
        lambda: Ask(2**64, "evaluate", b""),
        lambda: Ask(0, "", b""),
        lambda: Ask(0, "Evaluate", b""),
        lambda: Ask(0, "evaluate", bytes(MAX_BODY_SIZE + 1)),
        lambda: Answer(0, bytes(MAX_BODY_SIZE + 1)),
        lambda: Refusal(0, "No", "text"),
        lambda: Refusal(0, "no", "two\nlines"),
        lambda: Refusal(0, "no", "\x1b[31mred"),
        lambda: Refusal(0, "no", "x" * (MAX_TEXT + 1)),
    ],
)
def test_frame_that_must_not_travel_cannot_be_made(make):
    with pytest.raises(MalformedMessageError):
        make()


@given(st.text(max_size=3000))
def test_any_text_can_be_made_readable(text):
    Refusal(0, "no", readable(text))


def test_secret_bodies_do_not_print():
    assert "secret" not in repr(Ask(1, "evaluate", b"secret")) + repr(Answer(1, b"secret"))
