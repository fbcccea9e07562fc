import contextlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.codec import (
    Reader,
    Writer,
    canonical_json,
    parse_json,
)
from protocols.errors import MalformedMessageError

FIELDS = st.lists(
    st.one_of(
        st.tuples(st.just("u8"), st.integers(0, 2**8 - 1)),
        st.tuples(st.just("u32"), st.integers(0, 2**32 - 1)),
        st.tuples(st.just("u64"), st.integers(0, 2**64 - 1)),
        st.tuples(st.just("block"), st.binary(max_size=40)),
        st.tuples(st.just("text"), st.text(max_size=20)),
    ),
    max_size=8,
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # Half a surrogate pair is no text.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


def write(fields) -> bytes:
    writer = Writer()
    for kind, value in fields:
        assert getattr(writer, kind)(value) is writer
    return writer.encode()


def read(data: bytes, kinds: list[str]) -> list:
    reader = Reader(data, "subject")
    values = [getattr(reader, kind)() for kind in kinds]
    reader.finish()
    return values


@given(FIELDS)
def test_fields_come_back_in_order(fields):
    assert read(write(fields), [kind for kind, _ in fields]) == [value for _, value in fields]


@given(FIELDS.filter(len))
def test_cut_or_trailing_bytes_are_malformed(fields):
    data = write(fields)
    for bad in [*(data[:size] for size in range(len(data))), data + b"\0"]:
        with pytest.raises(MalformedMessageError, match=r"^subject: "):
            read(bad, [kind for kind, _ in fields])


def test_integers_are_big_endian_and_fields_length_prefixed():
    message = Writer().u8(1).u32(2).u64(3).block(b"ab").text("é").encode()
    assert message.hex() == "0100000002000000000000000300000002616200000002c3a9"


@pytest.mark.parametrize(
    ("kind", "value"), [("u8", 256), ("u8", -1), ("u32", 2**32), ("u64", 2**64)]
)
def test_integer_out_of_range_is_the_writers_mistake(kind, value):
    with pytest.raises(OverflowError):
        getattr(Writer(), kind)(value)


def test_text_must_be_utf_8():
    with pytest.raises(MalformedMessageError, match="not utf-8"):
        Reader(Writer().block(b"\xff").encode(), "test").text()


def test_length_beyond_the_message_is_malformed():
    with pytest.raises(MalformedMessageError, match="1 bytes left, need 4294967295"):
        Reader(b"\xff\xff\xff\xff\x00", "test").block()


@given(JSON)
def test_canonical_json_comes_back(value):
    data = canonical_json(value)
    assert parse_json(data, "test") == value
    assert canonical_json(parse_json(data, "test")) == data


def test_canonical_json_sorts_and_keeps_characters():
    assert (
        canonical_json({"b": [1, 2.5, None], "a": "防\n"})
        == '{"a":"防\\n","b":[1,2.5,null]}'.encode()
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, {"a": [-math.inf]}])
def test_canonical_json_writes_no_nan(value):
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"1 2",
        b"NaN",
        b"[Infinity]",
        b"[-Infinity]",
        b"1e999",
        b"[-1e400]",
        b'{"a":1,"a":1}',
        b'{"x":{"a":1,"a":2}}',
        b'"\xff"',
        b'"\\ud800"',
        b'{"\\udfff":1}',
        b"\xef\xbb\xbf1",
        b"\x00",
        b"1" * 5000,
        b"[" * 100_000,
    ],
)
def test_other_than_strict_json_is_malformed(data):
    with pytest.raises(MalformedMessageError, match="test: not valid JSON"):
        parse_json(data, "test")


def test_escaped_pair_is_one_character():
    assert parse_json(b'"\\ud83d\\ude00"', "test") == "😀"


@given(st.binary(max_size=60) | JSON.map(json.dumps).map(str.encode))
def test_any_bytes_are_json_or_malformed(data):
    with contextlib.suppress(MalformedMessageError):
        canonical_json(parse_json(data, "test"))


@given(st.binary(max_size=60), st.lists(st.sampled_from(["u8", "u32", "u64", "block", "text"])))
def test_any_bytes_are_fields_or_malformed(data, kinds):
    with contextlib.suppress(MalformedMessageError):
        read(data, kinds)
