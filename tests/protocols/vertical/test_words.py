import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import MalformedMessageError
from protocols.vertical.words import decode_words, encode_words


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20))
def test_words_come_back(words):
    data = encode_words(torch.tensor(words, dtype=torch.int64))
    assert data == b"".join(word.to_bytes(8, "little", signed=True) for word in words)
    decoded = decode_words(data, len(words), "test")
    assert decoded.dtype == torch.int64
    assert decoded.tolist() == words


def test_words_of_a_view_are_written_in_its_order():
    matrix = torch.arange(6).reshape(2, 3)
    assert decode_words(encode_words(matrix.T), 6, "test").tolist() == [0, 3, 1, 4, 2, 5]


def test_decoded_words_may_be_changed():
    data = encode_words(torch.zeros(2, dtype=torch.int64))
    decode_words(data, 2, "test").add_(1)
    assert data == bytes(16)


@given(st.binary(max_size=50), st.integers(0, 6))
def test_words_of_other_length_are_malformed(data, count):
    if len(data) == 8 * count:
        assert decode_words(data, count, "test").numel() == count
    else:
        with pytest.raises(MalformedMessageError, match=f"for {count} words"):
            decode_words(data, count, "test")


def test_words_are_little_endian_on_the_wire():
    data = np.array([1, -2], dtype=">i8").astype("<i8").tobytes()
    assert decode_words(data, 2, "test").tolist() == [1, -2]
