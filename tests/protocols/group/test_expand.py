"""expand_message_xmd against RFC 9380 and against its own definition, written again."""

import json
from hashlib import sha512
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import UnsupportedParameterError
from protocols.group.expand import expand_message_xmd, expand_messages

VECTORS = json.loads((Path(__file__).parent / "rfc9380_vectors.json").read_text())


def written_again(message: bytes, tag: bytes, length: int) -> bytes:
    """Section 5.3.1, steps 1 to 12, word for word."""
    if len(tag) > 255:
        tag = sha512(b"H2C-OVERSIZE-DST-" + tag).digest()
    prime = tag + bytes([len(tag)])
    first = sha512(bytes(128) + message + length.to_bytes(2, "big") + b"\0" + prime).digest()
    out = [sha512(first + b"\1" + prime).digest()]
    for i in range(2, (length + 63) // 64 + 1):
        mixed = int.from_bytes(first, "big") ^ int.from_bytes(out[-1], "big")
        out.append(sha512(mixed.to_bytes(64, "big") + bytes([i]) + prime).digest())
    return b"".join(out)[:length]


@pytest.mark.parametrize(
    "vector", VECTORS["vectors"], ids=lambda v: f"{len(v['message'])}-{v['length']}"
)
def test_expansion_matches_rfc_9380(vector):
    found = expand_message_xmd(
        vector["message"].encode(), VECTORS["tag"].encode(), vector["length"]
    )
    assert found.hex() == vector["uniform_bytes"]


@given(st.binary(max_size=300), st.binary(max_size=300), st.integers(1, 300))
def test_expansion_follows_definition(message, tag, length):
    assert expand_message_xmd(message, tag, length) == written_again(message, tag, length)


@pytest.mark.parametrize("length", [0, 255 * 64 + 1])
def test_impossible_length_is_refused(length):
    with pytest.raises(UnsupportedParameterError, match="expanded length"):
        expand_message_xmd(b"", b"tag", length)


@given(st.lists(st.binary(max_size=150)), st.binary(max_size=300), st.binary(), st.binary())
def test_batch_expansion_is_that_of_each_message(messages, tag, prefix, suffix):
    expected = [written_again(prefix + message + suffix, tag, 64) for message in messages]
    found = expand_messages(messages, tag, prefix=prefix, suffix=suffix)
    assert found == b"".join(expected)
