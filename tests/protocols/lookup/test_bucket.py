"""Buckets: one size for all, verified against the signed digests, together the table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InvalidProofError, MalformedMessageError, UnsupportedParameterError
from protocols.lookup.bucket import bucket_capacity, bucket_index, open_bucket, pad_bucket
from protocols.lookup.table import bucket_digests, check_digests, find


@pytest.fixture(scope="module")
def table(published):
    return published(4000)[1]


@pytest.mark.parametrize("count", [0, 1, 511, 512, 4000])
@pytest.mark.parametrize("bits", [0, 1, 3, 5])
def test_buckets_are_the_table_cut_up(count, bits, published):
    _, data = published(count)
    digests, size = bucket_digests(data, bits), bucket_capacity(data, bits)
    padded = [pad_bucket(data, bits, index, size) for index in range(2**bits)]
    assert {len(one) for one in padded} == {4 + 76 * size}
    opened = [open_bucket(one, digests, bits, index) for index, one in enumerate(padded)]
    assert b"".join(opened) == data


def test_every_tag_is_found_in_its_bucket(table, published):
    header = published(4000)[0].header
    bits, digests = header.prefix_bits, bucket_digests(table, header.prefix_bits)
    check_digests(header, digests)
    size = bucket_capacity(table, bits)
    for at in range(0, len(table), 76 * 37):
        tag = table[at : at + 16]
        index = bucket_index(tag, bits)
        records = open_bucket(pad_bucket(table, bits, index, size), digests, bits, index)
        assert find(records, tag) == table[at : at + 76]


def test_index_is_the_beginning_of_the_tag():
    tag = bytes.fromhex("b7ff00000000000000000000000000ff")
    assert [bucket_index(tag, bits) for bits in (0, 1, 4, 8, 12, 24)] == [
        0,
        1,
        0xB,
        0xB7,
        0xB7F,
        0xB7FF00,
    ]


def test_capacity_is_the_fullest_bucket_in_steps():
    def rows(*buckets):  # buckets of 8, each with so many records
        return b"".join(
            bytes([bucket << 5]) + number.to_bytes(15, "big") + bytes(60)
            for bucket, count in enumerate(buckets)
            for number in range(count)
        )

    assert bucket_capacity(b"", 3) == 32
    assert bucket_capacity(rows(0, 32), 3) == 32
    assert bucket_capacity(rows(0, 33, 3), 3) == 64
    assert bucket_capacity(rows(1, 2, 3, 4, 5, 6, 7, 65), 3) == 96
    assert bucket_capacity(rows(20, 20), 0) == 64


def test_size_tells_nothing_of_the_index(table):
    size = bucket_capacity(table, 3)
    lengths = {len(pad_bucket(table, 3, index, size)) for index in range(8)}
    assert lengths == {4 + 76 * size}
    with pytest.raises(UnsupportedParameterError, match="capacity"):
        pad_bucket(table, 3, 0, size // 2)


@pytest.mark.parametrize("index", [-1, 8, 2**40])
def test_bucket_that_does_not_exist_is_refused(table, index):
    with pytest.raises(UnsupportedParameterError, match=r"not in 0\.\.7"):
        pad_bucket(table, 3, index, 1000)
    with pytest.raises(UnsupportedParameterError):
        open_bucket(bytes(80), bytes(32 * 8), 3, index)


def test_another_bucket_is_refused(table):
    digests, size = bucket_digests(table, 3), bucket_capacity(table, 3)
    with pytest.raises(MalformedMessageError, match="another bucket"):
        open_bucket(pad_bucket(table, 3, 2, size), digests, 3, 1)
    with pytest.raises(InvalidProofError):
        open_bucket(bytes(4 + 76 * size), digests, 3, 1)


def test_bucket_of_another_version_is_refused(published):
    old, new = published(600)[1], published(600, 1)[1]
    padded = pad_bucket(old, 1, 1, bucket_capacity(old, 1))
    with pytest.raises(InvalidProofError, match="bucket 1"):
        open_bucket(padded, bucket_digests(new, 1), 1, 1)


def test_any_changed_byte_is_refused(published):
    _, data = published(20)
    digests, size = bucket_digests(data, 3), bucket_capacity(data, 3)
    padded = pad_bucket(data, 3, 4, size)
    assert open_bucket(padded, digests, 3, 4)
    for position in range(len(padded)):
        forged = bytearray(padded)
        forged[position] ^= 1
        with pytest.raises((MalformedMessageError, InvalidProofError)):
            open_bucket(bytes(forged), digests, 3, 4)


def test_cut_or_longer_bucket_is_refused(published):
    _, data = published(3)
    digests = bucket_digests(data, 0)
    padded = pad_bucket(data, 0, 0, 3)
    for size in range(len(padded)):
        with pytest.raises((MalformedMessageError, InvalidProofError)):
            open_bucket(padded[:size], digests, 0, 0)
    with pytest.raises(MalformedMessageError):
        open_bucket(padded + b"\0", digests, 0, 0)


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_cleanly(data):
    with pytest.raises((MalformedMessageError, InvalidProofError)):
        open_bucket(data, bytes(32), 0, 0)
