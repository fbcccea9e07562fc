"""Every message whole, cut, longer and arbitrary."""

import contextlib
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.align.messages import (
    ABSENT,
    PseudonymSet,
    Refusal,
    RefusalReason,
    RowNumbers,
    decode_answer,
    is_rising,
)
from protocols.errors import MalformedMessageError


def rows_of(values: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(values), dtype=np.uint8).reshape(-1, 16)


SETS = st.lists(st.binary(min_size=16, max_size=16), unique=True, max_size=20).map(sorted)
NUMBERS = st.lists(st.integers(0, 60), unique=True, max_size=20)


@given(SETS)
def test_set_survives_encoding(values):
    found = PseudonymSet.decode(PseudonymSet(rows_of(values)).encode())
    assert found.pseudonyms.tobytes() == b"".join(values)


@given(NUMBERS, st.integers(0, 3))
def test_row_numbers_survive_encoding(numbers, absent):
    rows = np.array(numbers + [ABSENT] * absent, dtype=np.int32)
    found = decode_answer(RowNumbers(61, rows).encode())
    assert isinstance(found, RowNumbers)
    assert found.total == 61
    assert found.rows.tolist() == rows.tolist()


@pytest.mark.parametrize("reason", list(RefusalReason))
def test_refusal_survives_encoding(reason):
    assert decode_answer(Refusal(reason).encode()) == Refusal(reason)


@given(st.integers(0, 4), st.binary(max_size=80))
def test_any_bytes_are_a_message_or_malformed(kind, body):
    data = bytes([kind]) + body
    for decode in (PseudonymSet.decode, decode_answer):
        with contextlib.suppress(MalformedMessageError):
            assert decode(data).encode() == data


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=6))
def test_order_is_that_of_bytes(values):
    assert is_rising(rows_of(values)) == all(a < b for a, b in itertools.pairwise(values))


WHOLE = [
    (PseudonymSet.decode, PseudonymSet(rows_of([bytes(16), b"\1" * 16])).encode()),
    (decode_answer, RowNumbers(16, np.array([3, 5], dtype=np.int32)).encode()),
    (decode_answer, Refusal(RefusalReason.NO_OVERLAP).encode()),
]


@pytest.mark.parametrize(("decode", "whole"), WHOLE)
def test_cut_or_longer_message_is_malformed(decode, whole):
    decode(whole)
    for data in [*(whole[:size] for size in range(len(whole))), whole + b"\0"]:
        with pytest.raises(MalformedMessageError):
            decode(data)


@pytest.mark.parametrize("values", [[b"\1" * 16, bytes(16)], [b"\1" * 16] * 2])
def test_unsorted_or_repeated_set_is_malformed(values):
    with pytest.raises(MalformedMessageError):
        PseudonymSet.decode(PseudonymSet(rows_of(values)).encode())


@pytest.mark.parametrize(
    ("total", "numbers"), [(4, [4]), (4, [-2]), (4, [1, 1]), (1, [0, 1]), (2**31, [0])]
)
def test_impossible_row_numbers_are_malformed(total, numbers):
    with pytest.raises(MalformedMessageError):
        decode_answer(RowNumbers(total, np.array(numbers, dtype=np.int32)).encode())


@pytest.mark.parametrize("reason", [0, 5, 255])
def test_unknown_reason_is_malformed(reason):
    with pytest.raises(MalformedMessageError):
        decode_answer(bytes([3, reason]))
