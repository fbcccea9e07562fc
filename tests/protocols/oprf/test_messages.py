"""Every decoder: round trips, every truncation, a trailing byte, any bytes at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import MalformedMessageError
from protocols.group.encoding import encode_scalar
from protocols.oprf.messages import EvaluationAnswer, EvaluationRequest, Opening, Verdict
from protocols.oprf.records import KeyRecord, KeyShare

RECORD = KeyRecord(
    7, 2, 2, ("hub", "警察", "telecom"), b"P" * 32, (b"a" * 32, b"b" * 32, b"c" * 32)
)
SHARE = KeyShare(RECORD, 3, encode_scalar(5))
REQUEST = EvaluationRequest(7, b"k" * 16, b"r" * 16, b"e" * 96)
ANSWER = EvaluationAnswer(7, b"k" * 16, b"r" * 16, 2, b"z" * 96, b"p" * 64)
OPENING = Opening(b"c" * 64, b"p" * 64)
REFRESH = Opening(b"c" * 32, b"")
VERDICT = Verdict(b"t" * 64, (1, 3))

CASES = [
    (RECORD, KeyRecord.decode),
    (SHARE, KeyShare.decode),
    (REQUEST, EvaluationRequest.decode),
    (ANSWER, EvaluationAnswer.decode),
    (OPENING, lambda data: Opening.decode(data, count=2, proven=True)),
    (REFRESH, lambda data: Opening.decode(data, count=1, proven=False)),
    (VERDICT, lambda data: Verdict.decode(data, holders=3)),
]
every_case = pytest.mark.parametrize(("value", "decode"), CASES, ids=lambda v: type(v).__name__)


@every_case
def test_message_survives_the_wire(value, decode):
    found = decode(value.encode())
    assert found == value
    assert found.encode() == value.encode()


def test_secret_of_a_share_survives_the_disk():
    assert KeyShare.decode(SHARE.encode()).scalar == SHARE.scalar


@every_case
def test_cut_or_longer_message_is_refused(value, decode):
    data = value.encode()
    for size in range(len(data)):
        with pytest.raises(MalformedMessageError):
            decode(data[:size])
    with pytest.raises(MalformedMessageError):
        decode(data + b"\0")


@every_case
@given(st.data())
def test_any_bytes_are_a_message_or_malformed(value, decode, data):
    good = value.encode()
    at = data.draw(st.integers(0, len(good)))
    mixed = (
        good[:at] + data.draw(st.binary(max_size=8)) + good[data.draw(st.integers(0, len(good))) :]
    )
    for given_bytes in (mixed, data.draw(st.binary(max_size=200))):
        try:
            found = decode(given_bytes)
        except MalformedMessageError:
            continue
        assert found.encode() == given_bytes


@pytest.mark.parametrize("count", [0, 65537, 2**32 - 1])
def test_batch_out_of_range_is_refused(count):
    data = bytearray(REQUEST.encode())
    data[41:45] = count.to_bytes(4, "big")
    with pytest.raises(MalformedMessageError, match=f"{count} elements, not in 1..65536"):
        EvaluationRequest.decode(bytes(data))


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": 1},
        {"threshold": 4},
        {"holders": ("a", "a", "b")},
        {"holders": ("a", "", "b")},
        {"holders": ("a", "b\n", "c")},
        {"holders": ("a", "x" * 65, "c")},
    ],
    ids=str,
)
def test_senseless_record_is_refused(change):
    fields = {name: getattr(RECORD, name) for name in RECORD.__slots__}
    with pytest.raises(MalformedMessageError):
        KeyRecord.decode(KeyRecord(**{**fields, **change}).encode())


def test_key_id_depends_on_every_field():
    fields = {name: getattr(RECORD, name) for name in RECORD.__slots__}
    changes = {
        "epoch": 8,
        "generation": 3,
        "threshold": 3,
        "holders": ("a", "b", "c"),
        "public": b"Q" * 32,
        "public_shares": (b"a" * 32, b"b" * 32, b"d" * 32),
    }
    ids = {KeyRecord(**{**fields, name: value}).key_id for name, value in changes.items()}
    assert len(ids | {RECORD.key_id}) == len(fields) + 1
