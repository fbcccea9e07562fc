"""Tables: found what is there, refused what is not the signed one, bit by bit."""

import dataclasses
import hashlib
import mmap

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InvalidProofError, MalformedMessageError, UnsupportedParameterError
from protocols.lookup.table import (
    SignedHeader,
    TableHeader,
    bucket_digests,
    check_digests,
    check_table,
    choose_prefix_bits,
    find,
    first_rows,
    joined_words,
    locate,
    sign_header,
    stream_digests,
    table_root,
    tag_prefixes,
    verify_header,
)

HEADER = TableHeader("hub", 5, "police", 2, 4, 600, 1, b"r" * 32, b"p" * 32, 1_800_000_000)
IDENTITY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SIGNED = sign_header(IDENTITY, HEADER)
CASES = [(HEADER, TableHeader.decode), (SIGNED, SignedHeader.decode)]
every_case = pytest.mark.parametrize(("value", "decode"), CASES, ids=lambda v: type(v).__name__)


def by_specification(header, data):
    """The root, from the module's docstring and the standard library alone."""
    shift = 64 - header.prefix_bits
    buckets = [b""] * 2**header.prefix_bits
    for at in range(0, len(data), 76):
        buckets[int.from_bytes(data[at : at + 8], "big") >> shift] += data[at : at + 76]
    text = b"lianfang/lookup/table/v1" + header.epoch.to_bytes(8, "big")
    text += header.number.to_bytes(4, "big") + bytes([header.prefix_bits])
    text += header.count.to_bytes(8, "big")
    for bucket in buckets:
        text += hashlib.sha256(b"lianfang/lookup/bucket/v1" + bucket).digest()
    return hashlib.sha256(text).digest()


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_every_record_is_found_and_no_other(count, records):
    rows = records(count)
    data = b"".join(rows)
    for row in rows:
        assert find(data, row[:16]) == row
        # Neighbours of a tag are not mistaken for it.
        number = int.from_bytes(row[:16], "big")
        assert find(data, ((number + 1) % 2**128).to_bytes(16, "big")) is None
        assert find(data, ((number - 1) % 2**128).to_bytes(16, "big")) is None
    assert find(data, bytes(16)) is None
    assert find(data, b"\xff" * 16) is None


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 1000])
def test_search_for_many_agrees_with_search_for_one(count, records):
    rows = records(count)
    data = b"".join(rows)
    absent = [row[:16] for row in records(50, seed=1)] + [bytes(16), b"\xff" * 16]
    near = [row[:8] + other for row in rows[:20] for other in (bytes(8), b"\xff" * 8)]
    wanted = [row[:16] for row in reversed(rows)] + absent + near
    found = locate(data, joined_words(b"".join(wanted))).tolist()
    assert found[:count] == list(reversed(range(count)))
    assert found[count:] == [-1] * (len(absent) + len(near))
    tags = [row[:16] for row in rows]
    places = first_rows(data, joined_words(b"".join(wanted))).tolist()
    assert places == [sum(tag < one for tag in tags) for one in wanted]


def test_equal_beginnings_are_told_apart():
    tags = [bytes(7) + bytes([a]) + bytes(7) + bytes([b]) for a in range(8) for b in range(1, 8)]
    data = b"".join(tag + bytes(60) for tag in tags)
    for tag in tags:
        assert find(data, tag) == tag + bytes(60)
    assert locate(data, joined_words(b"".join(tags))).tolist() == list(range(len(tags)))
    assert find(data, bytes(16)) is None


def test_prefixes_are_the_beginnings_of_tags(records):
    rows = records(1000)
    prefixes = tag_prefixes(b"".join(rows))
    assert prefixes.dtype == np.uint64
    assert prefixes.dtype.isnative
    assert prefixes.tolist() == [int.from_bytes(row[:8], "big") for row in rows]


def test_mapped_file_works_as_bytes_and_can_be_closed(tmp_path, published):
    signed, data = published(2000)
    path = tmp_path / "table"
    path.write_bytes(data)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    check_table(signed.header, mapped)
    assert find(mapped, data[:16]) == data[:76]
    assert tag_prefixes(mapped).tolist() == tag_prefixes(memoryview(data)).tolist()
    mapped.close()  # would refuse while a view of it lives


@pytest.mark.parametrize(
    ("count", "bits"),
    [(0, 0), (1, 0), (511, 0), (512, 1), (1023, 1), (1024, 2), (10**6, 11), (10**7, 15)],
)
def test_buckets_hold_256_to_511_records(count, bits):
    assert choose_prefix_bits(count) == bits


def test_no_table_has_buckets_below_256():
    for count in range(512, 5000):
        assert 256 <= count / 2 ** choose_prefix_bits(count) < 512
    assert choose_prefix_bits(2**63) == 24


@pytest.mark.parametrize("count", [0, 1, 2, 1000, 5000])
def test_root_is_what_the_specification_says(count, published):
    signed, data = published(count)
    assert signed.header.count == count
    assert signed.header.root == by_specification(signed.header, data)
    check_table(signed.header, data)


def test_digests_do_not_depend_on_the_pieces(records):
    data = b"".join(records(3000))
    whole = bucket_digests(data, 6)
    assert len(whole) == 64 * 32
    for step in (1, 7, 500, 5000):
        pieces = [data[at : at + 76 * step] for at in range(0, len(data), 76 * step)]
        assert stream_digests(pieces, 6) == whole


def test_empty_buckets_have_digests():
    empty = hashlib.sha256(b"lianfang/lookup/bucket/v1").digest()
    assert bucket_digests(b"", 3) == empty * 8
    record = b"\x60" + bytes(75)  # of bucket 3 in 8
    full = hashlib.sha256(b"lianfang/lookup/bucket/v1" + record).digest()
    assert bucket_digests(record, 3) == empty * 3 + full + empty * 4


def test_root_changes_with_any_bit(published):
    signed, data = published(3)
    for position in range(len(data)):
        for bit in range(8):
            forged = bytearray(data)
            forged[position] ^= 1 << bit
            with pytest.raises((InvalidProofError, MalformedMessageError)):
                check_table(signed.header, bytes(forged))
            root = table_root(5, 2, 0, 3, bucket_digests(bytes(forged), 0))
            assert root != signed.header.root


def test_root_changes_with_every_field():
    digests = bytes(64)
    roots = {
        table_root(1, 1, 1, 600, digests),
        table_root(2, 1, 1, 600, digests),
        table_root(1, 2, 1, 600, digests),
        table_root(1, 1, 1, 601, digests),
        table_root(1, 1, 1, 600, bytes(63) + b"\x01"),
        table_root(1, 1, 0, 600, bytes(32)),
    }
    assert len(roots) == 6


def test_table_that_is_not_the_signed_one_is_refused(published):
    signed, data = published(1200)
    rows = [data[at : at + 76] for at in range(0, len(data), 76)]
    size, order = (MalformedMessageError, "bytes"), (MalformedMessageError, "rising order")
    for forged, (error, text) in (
        (rows[:-1], size),
        ([*rows, b"\xff" * 76], size),
        ([b"".join(rows)[:-1]], size),
        ([rows[1], rows[0], *rows[2:]], order),
        ([rows[0], *rows[:1], *rows[2:]], order),
        ([*rows[:-2], rows[-1], rows[-2]], order),
        ([rows[0], rows[0][:16] + rows[1][16:], *rows[2:]], order),
        ([rows[0][:16] + rows[1][16:], *rows[1:]], (InvalidProofError, "root")),
    ):
        with pytest.raises(error, match=text):
            check_table(signed.header, b"".join(forged))


def test_order_is_checked_across_pieces():
    count = 65_538
    rows = np.zeros((count, 76), np.uint8)
    rows[:, 4:8] = np.arange(count, dtype=">u4").view(np.uint8).reshape(-1, 4)
    for first in (0, 65_534, 65_535, 65_536):
        swapped = rows.copy()
        swapped[[first, first + 1]] = swapped[[first + 1, first]]
        header = dataclasses.replace(HEADER, count=count, prefix_bits=choose_prefix_bits(count))
        with pytest.raises(MalformedMessageError, match="rising"):
            check_table(header, swapped.tobytes())


@pytest.mark.parametrize("size", [0, 32, 96])
def test_another_number_of_digests_is_refused(size):
    with pytest.raises(MalformedMessageError, match="digests"):
        check_digests(HEADER, bytes(size))


@pytest.mark.parametrize("bits", [-1, 25])
def test_prefix_bits_out_of_range_are_refused(bits):
    with pytest.raises(UnsupportedParameterError, match="prefix bits"):
        bucket_digests(b"", bits)


@every_case
def test_header_survives_the_wire(value, decode):
    assert decode(value.encode()) == value


@every_case
def test_cut_or_longer_header_is_refused(value, decode):
    data = value.encode()
    for size in range(len(data)):
        with pytest.raises(MalformedMessageError):
            decode(data[:size])
    with pytest.raises(MalformedMessageError):
        decode(data + b"\0")


@every_case
@given(st.data())
def test_any_bytes_are_a_header_or_malformed(value, decode, data):
    good = value.encode()
    at = data.draw(st.integers(0, len(good)))
    rest = good[data.draw(st.integers(0, len(good))) :]
    mixed = good[:at] + data.draw(st.binary(max_size=8)) + rest
    for given_bytes in (mixed, data.draw(st.binary(max_size=200))):
        try:
            found = decode(given_bytes)
        except MalformedMessageError:
            continue
        assert found.encode() == given_bytes


@given(
    st.builds(
        TableHeader,
        hub=st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,60}[a-z0-9])?", fullmatch=True),
        epoch=st.integers(0, 2**64 - 1),
        contributor=st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True),
        number=st.integers(1, 65_535),
        version=st.integers(2, 2**64 - 1),
        count=st.integers(0, 511),
        prefix_bits=st.just(0),
        root=st.binary(min_size=32, max_size=32),
        previous=st.binary(min_size=32, max_size=32).filter(any),
        made_at=st.integers(0, 2**64 - 1),
    )
)
def test_any_header_survives_the_wire(header):
    assert TableHeader.decode(header.encode()) == header


@pytest.mark.parametrize(
    "change",
    [
        {"hub": "Hub"},
        {"contributor": ""},
        {"contributor": "a\n"},
        {"number": 0},
        {"number": 65_536},
        {"version": 0},
        {"version": 1},
        {"previous": bytes(32)},
        {"count": 511},
        {"count": 50_000_001, "prefix_bits": 17},
        {"prefix_bits": 0},
        {"prefix_bits": 2},
        {"root": bytes(31)},
        {"made_at": -1},
        {"epoch": 2**64},
        {"epoch": True},
    ],
    ids=str,
)
def test_senseless_header_is_refused(change):
    with pytest.raises(MalformedMessageError, match="table header: "):
        dataclasses.replace(HEADER, **change)


def test_digest_depends_on_every_field():
    changes = {
        "hub": "hub2",
        "epoch": 6,
        "contributor": "bank",
        "number": 3,
        "version": 5,
        "count": 601,
        "root": b"s" * 32,
        "previous": b"q" * 32,
        "made_at": 1,
    }
    found = {dataclasses.replace(HEADER, **{name: value}).digest for name, value in changes.items()}
    assert len(found | {HEADER.digest}) == len(changes) + 1


def test_signature_holds_for_this_header_alone():
    assert verify_header(IDENTITY.public_key(), SIGNED) == HEADER
    other = dataclasses.replace(HEADER, made_at=1)
    forged = [SignedHeader(other, SIGNED.signature)]
    forged += [
        SignedHeader(HEADER, bytes([byte ^ 1 if at == i else byte for i, byte in enumerate(s)]))
        for s in [SIGNED.signature]
        for at in range(64)
    ]
    for signed in forged:
        with pytest.raises(InvalidProofError, match="police"):
            verify_header(IDENTITY.public_key(), signed)
    with pytest.raises(InvalidProofError):
        verify_header(Ed25519PrivateKey.generate().public_key(), SIGNED)
