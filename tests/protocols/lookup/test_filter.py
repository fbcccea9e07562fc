"""The packed set of tags: never misses one, and is wrong as rarely as promised."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.lookup.filter import TagFilter, build

words = st.integers(0, 2**64 - 1)


def uniform(count, seed):
    return np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)


@given(st.lists(words, max_size=60), st.integers(1, 32))
def test_no_tag_is_missed(prefixes, rate_bits):
    found = TagFilter.decode(build(np.array(prefixes, np.uint64), rate_bits=rate_bits))
    assert found.matches(np.array(prefixes, np.uint64)).all()
    assert all(prefix.to_bytes(8, "big") + bytes(8) in found for prefix in prefixes)
    assert len(found) <= len(set(prefixes))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 1000, 65_535, 65_536, 65_537, 200_000])
def test_no_tag_of_a_table_is_missed(count):
    prefixes = uniform(count, count)
    assert TagFilter.decode(build(prefixes)).matches(prefixes).all()


@pytest.mark.parametrize(("count", "rate_bits"), [(1000, 8), (1024, 8), (1025, 10), (60_000, 12)])
def test_rate_of_errors_is_the_designed_one(count, rate_bits):
    found = TagFilter.decode(build(uniform(count, 1), rate_bits=rate_bits))
    asked = 2_000_000
    hits = int(found.matches(uniform(asked, 2)).sum())
    designed = asked * count / 2 ** (rate_bits + (count - 1).bit_length())
    assert designed / 2 < hits < designed * 2
    assert designed <= asked / 2**rate_bits


def test_default_errs_once_in_a_million():
    found = TagFilter.decode(build(uniform(2**8, 1)))
    hits = sum(int(found.matches(uniform(4_000_000, seed)).sum()) for seed in range(2, 10))
    assert 15 < hits < 61  # 32 million questions at 2 ** -20 are 30.5


def test_size_is_that_of_the_code():
    for count in (10_000, 65_536, 100_000):
        bits = 8 * len(build(uniform(count, 3))) / count
        assert bits < 20 + 3 + 0.05


def test_layout_is_the_published_one():
    # Two values of 2 + 1 bits, 0b010 and 0b111: gaps 2 and 4, that is 0|10 and 1|00.
    prefixes = np.array([0b010 << 61, 0b111 << 61], np.uint64)
    expected = "01 02 00000002 00000001 5f 00000001 80"
    assert build(prefixes, rate_bits=2) == bytes.fromhex(expected)
    assert TagFilter.decode(bytes.fromhex(expected)).values.tolist() == [2, 7]


def test_tags_that_become_equal_keep_one_encoding():
    # Five different tags, of which one bit and the rate leave two.
    prefixes = np.array([1, 2, 3, 4, 2**64 - 1], np.uint64)
    data = build(prefixes, rate_bits=3)
    found = TagFilter.decode(data)
    assert len(found) == 2
    assert found.matches(prefixes).all()


def test_membership_is_asked_for_tags_alone():
    found = TagFilter.decode(build(np.array([7 << 40], np.uint64)))
    tag = (7 << 40).to_bytes(8, "big") + b"whatever"
    assert tag in found
    assert tag[:15] not in found
    assert tag.hex() not in found
    assert bytes(16) not in TagFilter.decode(build(np.array([], np.uint64)))


@pytest.mark.parametrize("rate_bits", [0, -1, 33])
def test_rate_out_of_range_is_refused(rate_bits):
    with pytest.raises(UnsupportedParameterError, match="rate bits"):
        build(uniform(3, 1), rate_bits=rate_bits)


def test_cut_or_longer_filter_is_refused():
    data = build(uniform(50, 4))
    for size in range(len(data)):
        with pytest.raises(MalformedMessageError):
            TagFilter.decode(data[:size])
    with pytest.raises(MalformedMessageError):
        TagFilter.decode(data + b"\0")


def rebuilt(found):
    """Encode a decoded filter again: its values, put back to the front of a tag."""
    bits = found.rate_bits + max(len(found) - 1, 0).bit_length()
    return build(found.values << np.uint64(64 - bits), rate_bits=found.rate_bits)


@given(st.integers(0, 40), st.integers(1, 32), st.data())
def test_any_bytes_are_a_filter_or_malformed(count, rate_bits, data):
    good = build(uniform(count, 5), rate_bits=rate_bits)
    at = data.draw(st.integers(0, len(good)))
    rest = good[data.draw(st.integers(0, len(good))) :]
    mixed = good[:at] + data.draw(st.binary(max_size=4)) + rest
    flipped = bytearray(good)
    flipped[data.draw(st.integers(0, len(good) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    for given_bytes in (good, mixed, bytes(flipped), data.draw(st.binary(max_size=60))):
        try:
            found = TagFilter.decode(given_bytes)
        except MalformedMessageError:
            assert given_bytes != good
            continue
        assert rebuilt(found) == given_bytes


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("02 02 00000002 00000001 5f 00000001 80", "version"),
        ("01 00 00000002 00000001 5f 00000001 80", "rate bits"),
        ("01 21 00000002 00000001 5f 00000001 80", "rate bits"),
        ("01 02 00000003 00000001 5f 00000001 80", "expected 3"),
        ("01 02 00000002 00000001 1f 00000001 80", "expected 2"),
        ("01 02 00000002 00000002 5fff 00000001 80", "for 2"),
        ("01 02 00000003 00000002 1fff 00000001 00", "in 2 bytes"),
        ("01 02 00000002 00000001 5f 00000001 81", "padding"),
        ("01 02 00000002 00000001 5f 00000002 8000", "remainders"),
        ("01 02 00000002 00000001 6f 00000001 c0", "out of range"),
        ("01 02 ffffffff 00000001 5f 00000001 80", "for 4294967295"),
        ("01 02 00000000 00000001 ff 00000000", "expected 0"),
    ],
)
def test_second_way_to_write_a_filter_is_refused(text, rule):
    with pytest.raises(MalformedMessageError, match=rule):
        TagFilter.decode(bytes.fromhex(text))
