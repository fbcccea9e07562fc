"""RFC 8785: the examples of its text and appendix B, and every spelling but one refused."""

import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import MalformedMessageError
from protocols.jcs import _write, decode_jcs, encode_jcs

# RFC 8785, appendix B.
NUMBERS = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}


@pytest.mark.parametrize(("bits", "text"), NUMBERS.items())
def test_numbers_are_written_as_in_appendix_b(bits, text):
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert encode_jcs(value) == text.encode()
    assert decode_jcs(text.encode(), "test") == value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_refused(value):
    with pytest.raises(ValueError, match="not finite"):
        encode_jcs(value)


def test_example_of_section_3_2_2_is_met():
    text = r"""{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }"""
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert encode_jcs(json.loads(text)).decode() == expected


def test_keys_are_sorted_by_utf_16_as_in_section_3_2_3():
    value = {
        "\u20ac": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "\U0001f600": "Emoji: Grinning Face",
        "\u0080": "Control",
        "\u00f6": "Latin Small Letter O With Diaeresis",
    }
    found = list(json.loads(encode_jcs(value)).values())
    assert [name.split()[0] for name in found] == [
        "Carriage",
        "One",
        "Control",
        "Latin",
        "Euro",
        "Emoji:",
        "Hebrew",
    ]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), inner)
    ),
    max_leaves=12,
)


@given(JSON)
def test_every_value_has_one_form_and_survives(value):
    data = encode_jcs(value)
    assert decode_jcs(data, "test") == value
    assert encode_jcs(json.loads(data)) == data


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_leads_back_to_itself(value):
    text = encode_jcs(value).decode()
    assert float(text) == value
    assert "E" not in text
    assert not text.endswith(".0")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 1",
        "1 ",
        "1.0",
        "1e0",
        "-0",
        "01",
        "1E30",
        "1e30",
        "NaN",
        "Infinity",
        "1e999",
        "9007199254740993",
        "1000000000000000000000",
        "1" * 5000,
        '{"b":1,"a":2}',
        '{"a":1,"a":1}',
        '{"a": 1}',
        '{"a":1.0}',
        '{"a":1e-07}',
        '{"a":[2.50]}',
        '{"a":-0}',
        '{"a":9007199254740993}',
        '{"a":"\\u00e9"}',
        '{"\ufb33":1,"\U0001f600":2}',
        '"\\u0041"',
        '"\\/"',
        '"\\u000A"',
        '"\\ud800"',
        '"\n"',
        "'a'",
        "[1,]",
        "nul",
        "[" * 40 + "]" * 40,
        "[" * 100_000,
        "1 2",
    ],
)
def test_any_other_spelling_is_refused(text):
    with pytest.raises(MalformedMessageError, match="test"):
        decode_jcs(text.encode(), "test")


@pytest.mark.parametrize("value", [{1: 2}, object(), b"x", {"a": {3}}, "\ud800", {"\ud800": 1}])
def test_what_is_not_json_is_not_written(value):
    with pytest.raises(ValueError, match=r"JSON|text|surrogates"):
        encode_jcs(value)


@given(st.binary(max_size=60))
def test_any_bytes_are_canonical_or_malformed(data):
    try:
        value = decode_jcs(data, "test")
    except MalformedMessageError:
        return
    assert encode_jcs(value) == data


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(TEXTS, PLAIN, max_size=6))
def test_quick_way_of_writing_gives_the_same_bytes(value):
    parts = []
    _write(value, parts, 0)
    assert encode_jcs(value) == "".join(parts).encode()


@pytest.mark.parametrize("value", [{1: "a"}, {"a": {None: 1}}, {"a": b"b"}, {"a": "\ud800"}])
def test_quick_way_refuses_what_the_other_does(value):
    with pytest.raises(ValueError):  # noqa: PT011 - each with a text of its own
        encode_jcs(value)


@pytest.mark.parametrize("depth", [32, 33])
def test_quick_way_goes_as_deep_as_the_other(depth):
    value = "end"
    for _ in range(depth):
        value = {"a": value}
    if depth > 32:
        with pytest.raises(ValueError, match="deeper"):
            encode_jcs(value)
    else:
        assert encode_jcs(value).count(b"{") == depth
