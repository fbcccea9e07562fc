"""A signed request holds for one hub, asker, purpose, case, epoch and batch, and no other."""

from contextlib import suppress
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InvalidProofError, MalformedMessageError, UnsupportedParameterError
from protocols.lookup.request import (
    CASE_PURPOSES,
    NO_CASE,
    Purpose,
    SignedRequest,
    commit_case,
    sign_request,
    verify_request,
)
from protocols.oprf.messages import EvaluationRequest

INSURER = Ed25519PrivateKey.from_private_bytes(b"i" * 32)
TELECOM = Ed25519PrivateKey.from_private_bytes(b"t" * 32)
SALT = b"s" * 32
EVALUATION = EvaluationRequest(5, b"k" * 16, b"r" * 16, b"e" * 64)


def request(identity=INSURER, **change) -> SignedRequest:
    fields = {
        "hub": "hub-taipei",
        "asker": "insurer",
        "purpose": Purpose.COUNTER,
        "case": commit_case("2026-0001", SALT),
        "asked_at": 1_780_000_000,
        "evaluation": EVALUATION,
    }
    return sign_request(identity, **fields | change)


ELSEWHERE = {
    "hub": "hub-tainan",
    "asker": "telecom",
    "purpose": Purpose.SCREENING,
    "case": NO_CASE,
    "asked_at": 1_780_000_001,
    "evaluation": replace(EVALUATION, epoch=6),
}


def test_request_survives_the_wire():
    asked = request()
    read = SignedRequest.decode(asked.encode())
    assert read == asked
    verify_request(INSURER.public_key(), read)
    assert read.digest == asked.digest
    assert (read.request_id, read.count) == (b"r" * 16, 2)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_moved_request_is_refused(name):
    moved = replace(request(), **{name: ELSEWHERE[name]})
    with pytest.raises(InvalidProofError, match="signature does not hold"):
        verify_request(INSURER.public_key(), SignedRequest.decode(moved.encode()))


@pytest.mark.parametrize("part", ["key_id", "request_id", "blinded"])
def test_altered_evaluation_is_refused(part):
    other = bytes(len(getattr(EVALUATION, part)))
    moved = replace(request(), evaluation=replace(EVALUATION, **{part: other}))
    with pytest.raises(InvalidProofError):
        verify_request(INSURER.public_key(), moved)


def test_request_of_another_key_is_refused():
    with pytest.raises(InvalidProofError, match="insurer"):
        verify_request(INSURER.public_key(), request(TELECOM))


def test_signature_over_the_bare_bytes_is_refused():
    # Without its domain a signature could be one over any other document.
    asked = request()
    forged = replace(asked, signature=INSURER.sign(asked.signed_part))
    with pytest.raises(InvalidProofError):
        verify_request(INSURER.public_key(), forged)


def test_digest_names_what_is_asked_and_not_when():
    asked = request()
    assert request(asked_at=1_790_000_000).digest == asked.digest
    others = {name: value for name, value in ELSEWHERE.items() if name != "asked_at"}
    digests = {request(**{name: value}).digest for name, value in others.items()}
    assert len(digests | {asked.digest}) == 1 + len(others)


def test_every_truncated_or_extended_request_is_refused():
    data = request().encode()
    for size in range(len(data)):
        with pytest.raises(MalformedMessageError):
            SignedRequest.decode(data[:size])
    with pytest.raises(MalformedMessageError, match="trailing"):
        SignedRequest.decode(data + b"\0")
    with pytest.raises(MalformedMessageError, match="version 9"):
        SignedRequest.decode(b"\x09" + data[1:])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_malformed(data):
    with suppress(MalformedMessageError):
        SignedRequest.decode(data)


@given(place=st.integers(0, 239), value=st.integers(0, 255))
def test_altered_byte_never_verifies_as_another_request(place, value):
    data = request().encode()
    altered = data[:place] + bytes([value]) + data[place + 1 :]
    try:
        read = SignedRequest.decode(altered)
        verify_request(INSURER.public_key(), read)
    except (MalformedMessageError, InvalidProofError):
        return
    assert altered == data


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hub": "../hub"}, "hub: must be"),
        ({"asker": "Insurer"}, "asker: must be"),
        ({"case": b"short"}, "case: 5 bytes"),
        ({"asked_at": -1}, "asked_at"),
        ({"asked_at": 2**64}, "asked_at"),
    ],
)
def test_field_that_breaks_its_rule_is_not_signed(change, said):
    with pytest.raises(MalformedMessageError, match=said):
        request(**change)


def test_unknown_purpose_is_malformed():
    data = request().encode().replace(b"counter", b"marriag")
    with pytest.raises(MalformedMessageError, match="purpose: unknown"):
        SignedRequest.decode(data)


def test_purposes_with_a_person_present_need_a_case():
    assert {Purpose.COUNTER, Purpose.CALL_CENTRE, Purpose.ONLINE} == CASE_PURPOSES


def test_commitment_needs_reference_and_salt_to_be_found_again():
    commitment = commit_case("2026-0001", SALT)
    assert commitment == commit_case("2026-0001", SALT)
    assert commitment not in (commit_case("2026-0002", SALT), commit_case("2026-0001", b"S" * 32))
    assert commitment != NO_CASE
    for reference in ("", "a\nb", "x" * 201):
        with pytest.raises(UnsupportedParameterError, match="case reference"):
            commit_case(reference, SALT)
    with pytest.raises(UnsupportedParameterError, match="case salt"):
        commit_case("2026-0001", b"short")


def test_repr_shows_neither_elements_nor_signature():
    asked = request()
    assert repr(asked.signature) not in repr(asked)
    assert repr(EVALUATION.blinded) not in repr(asked)
