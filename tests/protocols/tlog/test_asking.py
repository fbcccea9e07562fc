"""The answer of a witness as it travels over a standing link."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import MalformedMessageError
from protocols.standing import Ask
from protocols.tlog.asking import ADD_CHECKPOINT, WitnessAnswer
from protocols.tlog.note import MAX_NOTE_SIZE
from protocols.tlog.witness import SIZE_TYPE, TEXT_TYPE


@given(st.integers(100, 599), st.sampled_from([SIZE_TYPE, TEXT_TYPE, "x"]), st.binary(max_size=99))
def test_answer_is_read_back(status, content_type, body):
    answer = WitnessAnswer(status, content_type, body)
    assert WitnessAnswer.decode(answer.encode()) == answer


@given(st.binary(max_size=99))
def test_any_bytes_are_an_answer_or_malformed(data):
    try:
        found = WitnessAnswer.decode(data)
    except MalformedMessageError:
        return
    assert found.encode() == data


def test_spelling_of_an_answer_is_fixed():
    assert WitnessAnswer(409, SIZE_TYPE, b"7\n").encode() == b"409 text/x.tlog.size\n7\n"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"200\n",
        b"200 \n",
        b"20 text/plain\n",
        b"600 text/plain\n",
        b"0200 text/plain\n",
        b"200  text/plain\n",
        b"200 text/plain",
        b"200 text/\x00\n",
        b"200 " + b"x" * 101 + b"\n",
        b"200 x\n" + bytes(MAX_NOTE_SIZE + 1),
    ],
)
def test_malformed_answers_are_refused(data):
    with pytest.raises(MalformedMessageError):
        WitnessAnswer.decode(data)


def test_link_takes_the_name_of_the_question():
    assert Ask(1, ADD_CHECKPOINT, b"old 0\n").kind == ADD_CHECKPOINT
