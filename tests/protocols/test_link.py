from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import MalformedMessageError
from protocols.link import (
    MAX_BODY_SIZE,
    Envelope,
    Kind,
    TransportError,
    phase_label,
    split_payload,
)
from protocols.mailbox import Mailbox

labels = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
parties = st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True)


@st.composite
def envelopes(draw):
    kind = draw(st.sampled_from(Kind))
    named = kind in {Kind.WELCOME, Kind.DATA, Kind.PART, Kind.LEFT, Kind.GONE}
    body = b""
    if kind in {Kind.DATA, Kind.PART}:
        body = draw(st.binary(max_size=200))
    elif kind is Kind.ACK:
        body = draw(st.binary(min_size=8, max_size=8))
    elif kind in {Kind.WELCOME, Kind.GONE, Kind.CLOSED}:
        body = draw(st.text(max_size=50)).encode()
    return Envelope(draw(labels), draw(labels), kind, draw(parties) if named else "", body)


def data(sender, body, kind=Kind.DATA):
    return Envelope("run-1", "train.1", kind, sender, body)


@given(envelopes())
def test_envelope_survives_the_wire(envelope):
    assert Envelope.decode(envelope.encode()) == envelope


@given(st.binary(max_size=300))
def test_any_bytes_decode_or_are_malformed(data):
    try:
        envelope = Envelope.decode(data)
    except MalformedMessageError:
        return
    assert envelope.encode() == data


@given(envelopes(), st.data())
def test_damaged_envelope_decodes_or_is_malformed(envelope, draws):
    frame = bytearray(envelope.encode())
    position = draws.draw(st.integers(0, len(frame) - 1))
    frame[position] = draws.draw(st.integers(0, 255))
    with suppress(MalformedMessageError):
        assert Envelope.decode(bytes(frame)).encode() == bytes(frame)


def test_every_truncated_header_is_malformed():
    frame = data("telecom", b"").encode()
    for size in range(len(frame)):
        with pytest.raises(MalformedMessageError):
            Envelope.decode(frame[:size])


@pytest.mark.parametrize("kind", [Kind.HELLO, Kind.LEAVE, Kind.LEFT])
def test_body_where_none_belongs_is_malformed(kind):
    frame = Envelope("r", "p", kind, "telecom" if kind is Kind.LEFT else "").encode()
    with pytest.raises(MalformedMessageError):
        Envelope.decode(frame + b"x")


@pytest.mark.parametrize("name", ["", "Telecom", "1a", "a b", "a\n", "a" * 64, "é"])
def test_bad_party_name_is_malformed(name):
    with pytest.raises(MalformedMessageError):
        data(name, b"")


@pytest.mark.parametrize("name", ["", ".", "a/b", "a\n", "a" * 65, "-a"])
def test_bad_run_name_is_malformed(name):
    with pytest.raises(MalformedMessageError):
        Envelope(name, "p", Kind.HELLO)


def test_body_over_the_limit_is_malformed():
    with pytest.raises(MalformedMessageError):
        data("telecom", bytes(MAX_BODY_SIZE + 1))


def test_body_does_not_print():
    assert "secret" not in repr(data("telecom", b"secret"))


def test_attempts_have_different_labels():
    assert phase_label("train", 1) != phase_label("train", 2)
    with pytest.raises(ValueError, match="attempt"):
        phase_label("train", 0)


@given(st.binary(max_size=100), st.integers(1, 40))
def test_pieces_give_the_payload_back(payload, size):
    mailbox = Mailbox("run-1", "train.1")
    pieces = list(split_payload(payload, size))
    assert [kind for kind, _ in pieces] == [Kind.PART] * (len(pieces) - 1) + [Kind.DATA]
    assert all(len(piece) <= size for _, piece in pieces)
    for kind, piece in pieces:
        assert mailbox.take("telecom") is None
        mailbox.accept(Envelope.decode(data("telecom", piece, kind).encode()))
    assert mailbox.take("telecom") == payload
    assert mailbox.buffered_bytes == 0
    assert mailbox.received == {"telecom": len(payload)}


def test_pieces_of_two_senders_do_not_mix():
    mailbox = Mailbox("run-1", "train.1")
    mailbox.accept(data("telecom", b"a", Kind.PART))
    mailbox.accept(data("police", b"x", Kind.PART))
    mailbox.accept(data("telecom", b"b"))
    assert mailbox.take("telecom") == b"ab"
    assert mailbox.take("police") is None


def test_payload_over_the_limit_is_malformed():
    mailbox = Mailbox("run-1", "train.1", max_payload_size=10)
    mailbox.accept(data("telecom", bytes(6), Kind.PART))
    with pytest.raises(MalformedMessageError):
        mailbox.accept(data("telecom", bytes(5), Kind.PART))


@pytest.mark.parametrize("change", [{"run": "run-2"}, {"phase": "train.2"}])
def test_envelope_of_another_channel_is_malformed(change):
    fields = {"run": "run-1", "phase": "train.1"} | change
    with pytest.raises(MalformedMessageError):
        Mailbox("run-1", "train.1").accept(Envelope(**fields, kind=Kind.DATA, party="telecom"))


def test_what_arrived_is_read_before_the_failure():
    mailbox = Mailbox("run-1", "train.1")
    mailbox.accept(data("telecom", b"last"))
    mailbox.accept(Envelope("run-1", "train.1", Kind.GONE, "telecom", b"lost"))
    assert mailbox.take("telecom") == b"last"
    with pytest.raises(TransportError, match="telecom broke off") as caught:
        mailbox.take("police")
    assert caught.value.retryable
    assert caught.value.party == "telecom"


def test_party_that_left_is_not_waited_for():
    mailbox = Mailbox("run-1", "train.1")
    mailbox.accept(data("telecom", b"last"))
    mailbox.accept(Envelope("run-1", "train.1", Kind.LEFT, "telecom"))
    assert mailbox.take("telecom") == b"last"
    with pytest.raises(TransportError, match="telecom left"):
        mailbox.take("telecom")
    assert mailbox.take("police") is None


def test_closed_run_gives_its_reason():
    mailbox = Mailbox("run-1", "train.1")
    mailbox.accept(Envelope("run-1", "train.1", Kind.CLOSED, body=b"budget is spent"))
    with pytest.raises(TransportError, match="budget is spent") as caught:
        mailbox.take("telecom")
    assert not caught.value.retryable
