"""The 32 bytes of a record: their layout, their rules, and no second way to write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.lookup.payload import (
    MAX_MONTH,
    Category,
    Payload,
    Slot,
    SourceClass,
    Status,
    Use,
    format_month,
    month_of,
)

GOOD = Payload(
    category=Category.MULE_ACCOUNT,
    source=SourceClass.HOTLINE_165,
    status=Status.CONFIRMED,
    use=Use.COUNTER | Use.SCREENING,
    slot=Slot.SUSPECT,
    contributor=0x0102,
    first=0x0141,
    last=0x0142,
    expires=0x0150,
    reference=bytes(range(12)),
    canary=True,
)
# Written by hand from the layout in the module's docstring.
GOOD_BYTES = bytes.fromhex("01080202030001 0102 0141 0142 0150 000102030405060708090a0b 0000000000")

months = st.lists(st.integers(0, MAX_MONTH), min_size=3, max_size=3).map(sorted)


@st.composite
def payloads(draw):
    slot = draw(st.sampled_from(Slot))
    first, last, expires = draw(months)
    return Payload(
        draw(st.sampled_from(Category)),
        draw(st.sampled_from(SourceClass)),
        draw(st.sampled_from(Status)),
        Use.CARE if slot is Slot.VICTIM else Use(draw(st.integers(1, 7))),
        slot,
        draw(st.integers(1, 65_535)),
        first,
        last,
        expires,
        draw(st.binary(min_size=12, max_size=12)),
        canary=draw(st.booleans()),
    )


def changed(**change):
    return Payload(**{name: getattr(GOOD, name) for name in GOOD.__slots__} | change)


def test_layout_is_the_published_one():
    assert GOOD.encode() == GOOD_BYTES
    assert Payload.decode(GOOD_BYTES) == GOOD


@given(payloads())
def test_payload_survives_the_wire(payload):
    data = payload.encode()
    assert len(data) == 32
    assert Payload.decode(data) == payload


def test_cut_or_longer_payload_is_refused():
    for size in range(32):
        with pytest.raises(MalformedMessageError):
            Payload.decode(GOOD_BYTES[:size])
    with pytest.raises(MalformedMessageError):
        Payload.decode(GOOD_BYTES + b"\0")


@given(st.binary(min_size=32, max_size=32), st.integers(0, 32))
def test_any_bytes_are_a_payload_or_malformed(noise, at):
    for data in (noise, GOOD_BYTES[:at] + noise[at:], noise[:at] + GOOD_BYTES[at:]):
        try:
            found = Payload.decode(data)
        except MalformedMessageError:
            continue
        assert found.encode() == data


def test_every_byte_value_has_one_meaning_or_none():
    for position in range(32):
        for value in range(256):
            data = bytearray(GOOD_BYTES)
            data[position] = value
            try:
                found = Payload.decode(bytes(data))
            except MalformedMessageError:
                continue
            assert found.encode() == data


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"contributor": 0}, "contributor 0"),
        ({"contributor": 65_536}, "contributor 65536"),
        ({"first": 0x0143}, "first <= last"),
        ({"expires": 0x0141}, "last <= expires"),
        ({"first": -1}, "0 <= first"),
        ({"expires": MAX_MONTH + 1}, str(MAX_MONTH)),
        ({"reference": bytes(11)}, "11 bytes"),
        ({"use": Use(0)}, "at least one"),
        ({"use": Use(8)}, "nothing else"),
        ({"slot": Slot.VICTIM}, "no use but care"),
        ({"slot": Slot.VICTIM, "use": Use.CARE | Use.COUNTER}, "no use but care"),
    ],
    ids=str,
)
def test_senseless_payload_is_refused(change, rule):
    with pytest.raises(UnsupportedParameterError, match=rule):
        changed(**change).encode()


@pytest.mark.parametrize("use", [1, 2, 3, 5, 6, 7])
def test_no_bytes_mark_a_victim(use):
    data = bytearray(changed(slot=Slot.VICTIM, use=Use.CARE).encode())
    data[4] = use
    with pytest.raises(MalformedMessageError, match="no use but care"):
        Payload.decode(bytes(data))


def test_reference_does_not_print():
    assert GOOD.reference.hex() not in repr(GOOD)
    assert repr(GOOD.reference) not in repr(GOOD)


# Seconds from `date -d "2026-11-30 23:59:59 +0800" +%s` and the like.
@pytest.mark.parametrize(
    ("now", "month"),
    [
        (946_656_000, "2000-01"),
        (1_796_054_399, "2026-11"),
        (1_796_054_400, "2026-12"),
        (1_798_732_800, "2027-01"),
    ],
)
def test_month_changes_at_midnight_in_taipei(now, month):
    assert format_month(month_of(now)) == month


@pytest.mark.parametrize("now", [946_655_999, -(2**62), 2**62, 2**80, 32_503_651_200])
def test_month_out_of_range_is_refused(now):
    with pytest.raises(UnsupportedParameterError):
        month_of(now)
