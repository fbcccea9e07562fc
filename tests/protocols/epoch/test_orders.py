"""Orders of a key set-up: strict in every byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.epoch.orders import EndOrder, RunOrder, SignedRecord
from protocols.errors import MalformedMessageError
from protocols.oprf.records import KeyRecord

RECORD = KeyRecord(3, 1, 2, ("hub", "police"), b"\x01" * 32, (b"\x02" * 32, b"\x03" * 32))
EXAMPLES = [
    RunOrder(b"s" * 16, {"hub": b"a" * 96, "police": b"b" * 96}),
    SignedRecord(RECORD, b"x" * 64),
    EndOrder(3),
]


@pytest.mark.parametrize("order", EXAMPLES, ids=lambda order: type(order).__name__)
def test_cut_or_lengthened_order_is_malformed(order):
    data = order.encode()
    assert type(order).decode(data) == order
    for cut in range(len(data)):
        with pytest.raises(MalformedMessageError):
            type(order).decode(data[:cut])
    with pytest.raises(MalformedMessageError):
        type(order).decode(data + b"\x00")


@pytest.mark.parametrize("kind", [RunOrder, SignedRecord, EndOrder])
@given(data=st.binary(max_size=200) | st.binary(max_size=150).map(lambda rest: b"\x01" + rest))
def test_any_bytes_are_an_order_or_malformed(kind, data):
    try:
        order = kind.decode(data)
    except MalformedMessageError:
        return
    assert order.encode() == data


def test_announcements_come_once_and_in_order():
    good = RunOrder(b"s" * 16, {"hub": b"a" * 96, "police": b"b" * 96}).encode()
    first, second = good[18:121], good[121:]
    assert good == good[:18] + first + second
    for wrong in (good[:18] + second + first, good[:18] + first + first):
        with pytest.raises(MalformedMessageError):
            RunOrder.decode(wrong)


@pytest.mark.parametrize(
    "make",
    [
        lambda: RunOrder(b"short", {"hub": b"a" * 96}),
        lambda: RunOrder(b"s" * 16, {}),
        lambda: RunOrder(b"s" * 16, {"Hub": b"a" * 96}),
        lambda: RunOrder(b"s" * 16, {"hub": b"a" * 95}),
        lambda: SignedRecord(RECORD, b"x" * 63),
        lambda: EndOrder(-1),
    ],
)
def test_wrong_order_cannot_be_made(make):
    with pytest.raises(MalformedMessageError):
        make()
