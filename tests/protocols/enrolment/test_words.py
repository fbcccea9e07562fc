"""What an identity key signs on the way into a hub serves for that, and for nothing else."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.enrolment.words import (
    hash_secret,
    parse_signature,
    prove_asking,
    sign_join,
    sign_renewal,
    verify_asking,
    verify_join,
    verify_renewal,
)
from protocols.errors import InvalidProofError, MalformedMessageError

KEY, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))
PUBLIC = KEY.public_key()
SECRET, REQUEST, NUMBER, NOW = bytes(16), {"name": "telecom"}, "ab" * 16, 1_800_000_000


def test_join_is_for_one_hub_one_secret_and_one_request():
    word = sign_join(KEY, "hub", SECRET, REQUEST)
    verify_join(PUBLIC, "hub", SECRET, REQUEST, word)
    for hub, secret, request in (
        ("bub", SECRET, REQUEST),
        ("hub", bytes([1]) * 16, REQUEST),
        ("hub", SECRET, {"name": "police"}),
    ):
        with pytest.raises(InvalidProofError):
            verify_join(PUBLIC, hub, secret, request, word)
    with pytest.raises(InvalidProofError):
        verify_join(OTHER.public_key(), "hub", SECRET, REQUEST, word)


def test_request_without_a_canonical_form_is_malformed():
    deep = value = {}
    for _ in range(40):
        value["x"] = value = {}
    with pytest.raises(MalformedMessageError):
        verify_join(PUBLIC, "hub", SECRET, deep, bytes(64))


def test_asking_is_for_one_request_and_a_while():
    proof = prove_asking(KEY, "hub", NUMBER, NOW)
    verify_asking(PUBLIC, "hub", NUMBER, proof, NOW + 900)
    for now in (NOW + 901, NOW - 901):
        with pytest.raises(MalformedMessageError, match="clock"):
            verify_asking(PUBLIC, "hub", NUMBER, proof, now)
    for public, hub, number in (
        (OTHER.public_key(), "hub", NUMBER),
        (PUBLIC, "bub", NUMBER),
        (PUBLIC, "hub", "cd" * 16),
    ):
        with pytest.raises(InvalidProofError):
            verify_asking(public, hub, number, proof, NOW)


@pytest.mark.parametrize("proof", ["", ".", "1", "1.", f"-1.{'0' * 128}", f"1.{'A' * 128}", "x.y"])
def test_proof_that_is_none_is_malformed(proof):
    with pytest.raises(MalformedMessageError):
        verify_asking(PUBLIC, "hub", NUMBER, proof, NOW)


def test_renewal_is_for_one_certificate_and_one_new_key():
    word = sign_renewal(KEY, "hub", "telecom", serial=7, request=b"csr")
    verify_renewal(PUBLIC, "hub", "telecom", serial=7, request=b"csr", signature=word)
    for public, name, serial, request in (
        (OTHER.public_key(), "telecom", 7, b"csr"),
        (PUBLIC, "police", 7, b"csr"),
        (PUBLIC, "telecom", 8, b"csr"),
        (PUBLIC, "telecom", 7, b"another"),
    ):
        with pytest.raises(InvalidProofError):
            verify_renewal(public, "hub", name, serial=serial, request=request, signature=word)


def test_secret_and_signature_are_of_one_form():
    assert hash_secret(SECRET) != hash_secret(bytes([1]) * 16)
    assert SECRET.hex() not in hash_secret(SECRET).hex()
    for text in (None, "00", "0" * 127 + " ", "G" * 128):
        with pytest.raises(MalformedMessageError):
            parse_signature(text, "x")
