"""Acknowledgements: read strictly, signed by their reader, of one version of one table."""

from contextlib import suppress
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.lookup.acknowledgement import (
    Acknowledgement,
    SignedAcknowledgement,
    sign_acknowledgement,
    verify_acknowledgement,
)
from protocols.lookup.header import NO_DIGEST, TableHeader

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
HEADER = TableHeader(
    "lianfang", 5, "police", 1, version=1, count=3, prefix_bits=0, root=b"r" * 32,
    previous=NO_DIGEST, made_at=1_800_000_000,
)  # fmt: skip
SAID = Acknowledgement.of(HEADER, reader="insurer", now=1_800_000_060)
SIGNED = sign_acknowledgement(KEY, SAID)


def test_statement_is_about_one_version_of_one_table():
    assert (SAID.hub, SAID.epoch, SAID.contributor, SAID.version) == ("lianfang", 5, "police", 1)
    assert SAID.covers(HEADER)
    for change in ({"count": 4}, {"root": b"s" * 32}, {"epoch": 6}, {"contributor": "telecom"}):
        assert not SAID.covers(replace(HEADER, **change))


def test_bytes_are_those_of_the_specification():
    texts = b"".join(len(t).to_bytes(4, "big") + t for t in (b"lianfang",))
    others = b"".join(len(t).to_bytes(4, "big") + t for t in (b"police", b"insurer"))
    numbers = (1).to_bytes(8, "big") + SAID.applied_at.to_bytes(8, "big")
    expected = b"\x01" + texts + (5).to_bytes(8, "big") + others + numbers + HEADER.digest
    assert SAID.encode() == expected
    assert SIGNED.encode() == len(expected).to_bytes(4, "big") + expected + SIGNED.signature


def test_only_its_reader_can_have_signed_it():
    assert verify_acknowledgement(KEY.public_key(), SIGNED) == SAID
    with pytest.raises(InvalidProofError, match="acknowledgement of insurer"):
        verify_acknowledgement(Ed25519PrivateKey.generate().public_key(), SIGNED)
    for change in ({"version": 2}, {"applied_at": 1}, {"reader": "telecom"}, {"header": bytes(32)}):
        forged = replace(SIGNED, statement=replace(SAID, **change))
        with pytest.raises(InvalidProofError):
            verify_acknowledgement(KEY.public_key(), forged)
    # The same bytes signed as another kind of document are no acknowledgement.
    plain = replace(SIGNED, signature=KEY.sign(SAID.encode()))
    with pytest.raises(InvalidProofError):
        verify_acknowledgement(KEY.public_key(), plain)


@pytest.mark.parametrize(
    "change",
    [
        {"hub": "Hub"}, {"contributor": "../x"}, {"reader": ""}, {"version": 0}, {"epoch": -1},
        {"header": b"short"}, {"applied_at": 2**64},
    ],
)  # fmt: skip
def test_statement_that_cannot_be_is_refused(change):
    with pytest.raises(MalformedMessageError):
        replace(SAID, **change)


@pytest.mark.parametrize("value", [SAID, SIGNED])
def test_every_cut_and_every_trailing_byte_is_refused(value):
    data = value.encode()
    assert type(value).decode(data) == value
    for end in range(len(data)):
        with pytest.raises(MalformedMessageError):
            type(value).decode(data[:end])
    for wrong in (data + b"\0", b"\x02" + data[1:]):
        with pytest.raises(MalformedMessageError):
            type(value).decode(wrong)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_malformed(data):
    for kind in (Acknowledgement, SignedAcknowledgement):
        with suppress(MalformedMessageError):
            assert kind.decode(data).encode() == data
