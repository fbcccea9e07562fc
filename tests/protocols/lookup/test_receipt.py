"""A receipt is the hub's word on one request; a reply carries it with the answers."""

from contextlib import suppress
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.lookup.receipt import Receipt, Reply, sign_receipt, verify_receipt
from protocols.lookup.request import NO_CASE, Purpose, sign_request
from protocols.oprf.messages import EvaluationAnswer, EvaluationRequest

HUB = Ed25519PrivateKey.from_private_bytes(b"h" * 32)
INSURER = Ed25519PrivateKey.from_private_bytes(b"i" * 32)


def request(request_id=b"r" * 16):
    return sign_request(
        INSURER,
        hub="hub-taipei",
        asker="insurer",
        purpose=Purpose.SCREENING,
        case=NO_CASE,
        asked_at=1_780_000_000,
        evaluation=EvaluationRequest(5, b"k" * 16, request_id, b"e" * 96),
    )


def receipt(**change) -> Receipt:
    terms = {"holders": ("hub", "police"), "at": 1_780_000_001, "used": 30, "quota": 1000}
    return sign_receipt(HUB, request(), **terms | change)


def answer(index, count=3, request_id=b"r" * 16):
    return EvaluationAnswer(5, b"k" * 16, request_id, index, b"z" * 32 * count, bytes(64))


def test_receipt_survives_the_wire_and_names_its_request():
    given_out = receipt()
    read = Receipt.decode(given_out.encode())
    assert read == given_out
    verify_receipt(HUB.public_key(), read)
    verify_receipt(HUB.public_key(), read, request())
    assert (read.count, read.holders, read.used) == (3, ("hub", "police"), 30)


OTHERS = {
    "hub": "hub-tainan",
    "asker": "telecom",
    "request_id": bytes(16),
    "request_digest": bytes(32),
    "count": 4,
    "purpose": Purpose.ONLINE,
    "case": b"c" * 32,
    "holders": ("hub", "telecom"),
    "at": 1,
    "used": 3,
    "quota": 10,
}


@pytest.mark.parametrize("name", OTHERS)
def test_altered_receipt_is_refused(name):
    altered = replace(receipt(), **{name: OTHERS[name]})
    with pytest.raises(InvalidProofError, match="signature does not hold"):
        verify_receipt(HUB.public_key(), Receipt.decode(altered.encode()))


def test_receipt_of_another_key_is_refused():
    with pytest.raises(InvalidProofError):
        verify_receipt(INSURER.public_key(), receipt())


def test_request_signature_is_no_receipt():
    altered = replace(receipt(), signature=request().signature)
    with pytest.raises(InvalidProofError):
        verify_receipt(INSURER.public_key(), altered)


def test_receipt_for_another_request_is_refused():
    with pytest.raises(InvalidProofError, match="another request"):
        verify_receipt(HUB.public_key(), receipt(), request(b"q" * 16))


def test_every_truncated_or_extended_receipt_and_reply_is_refused():
    reply = Reply((answer(1), answer(3)), receipt())
    for kind, whole in ((Receipt, receipt().encode()), (Reply, reply.encode())):
        for size in range(len(whole)):
            with pytest.raises(MalformedMessageError):
                kind.decode(whole[:size])
        with pytest.raises(MalformedMessageError):
            kind.decode(whole + b"\0")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_reply_or_malformed(data):
    for kind in (Receipt, Reply):
        with suppress(MalformedMessageError):
            kind.decode(data)


def test_reply_survives_the_wire():
    reply = Reply((answer(1), answer(3)), receipt())
    assert Reply.decode(reply.encode()) == reply


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ((answer(1),), "1 answers"),
        ((answer(1), answer(1)), "two answers of one holder"),
        ((answer(1), answer(2, count=2)), "another count"),
        ((answer(1), answer(2, request_id=bytes(16))), "another request"),
    ],
)
def test_answers_that_do_not_belong_to_the_receipt_are_refused(answers, said):
    with pytest.raises(MalformedMessageError, match=said):
        Reply(answers, receipt())


@pytest.mark.parametrize(
    "change",
    [
        {"holders": ()},
        {"holders": ("hub", "hub")},
        {"holders": ("Hub",)},
        {"used": -1},
        {"quota": 2**64},
    ],
)
def test_receipt_that_breaks_a_rule_is_not_signed(change):
    with pytest.raises(MalformedMessageError, match="receipt"):
        receipt(**change)
