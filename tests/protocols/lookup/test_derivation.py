"""Roots, tags and keys: equal to HKDF of another implementation, and all different."""

import random

import numpy as np
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from protocols.errors import UnsupportedParameterError
from protocols.lookup.derivation import derive_record_key, derive_root, derive_tags, tag_table
from protocols.lookup.payload import Slot

OUTPUT = bytes(range(64))
EPOCH = 0x0102030405060708
ROOT = derive_root(EPOCH, OUTPUT)


def independent(info: bytes) -> bytes:
    """Extract and expand in one step, by the library."""
    salt = b"lianfang/lookup/root/v1" + bytes([1, 2, 3, 4, 5, 6, 7, 8])
    return HKDF(SHA256(), 32, salt=salt, info=info).derive(OUTPUT)


def test_tags_equal_an_independent_hkdf():
    suspect, victim = derive_tags(ROOT, 0x0A0B)
    assert suspect + victim == independent(b"lianfang/lookup/tags/v1\x0a\x0b")


@pytest.mark.parametrize("slot", Slot)
def test_record_key_equals_an_independent_hkdf(slot):
    expected = independent(b"lianfang/lookup/key/v1\x0a\x0b" + bytes([slot]))
    assert derive_record_key(ROOT, 0x0A0B, slot) == expected


def test_root_expands_as_the_library_does():
    expected = HKDFExpand(SHA256(), 32, b"lianfang/lookup/tags/v1\x00\x01").derive(ROOT)
    assert b"".join(derive_tags(ROOT, 1)) == expected


def test_vector_stays_as_it_is():
    # Computed once with `cryptography`; a change of it makes all published tables worthless.
    assert ROOT.hex() == "216218394540c0b1cb579bca7c54b00f2a1770e1778ece1c1bc8eb4031d0e1b8"
    assert derive_tags(ROOT, 1)[Slot.SUSPECT].hex() == "a3b31be0a04829af6c693cd00fb19c0e"
    assert derive_tags(ROOT, 1)[Slot.VICTIM].hex() == "4e316a855488ce1bc8bccafb6ce8628a"
    assert (
        derive_record_key(ROOT, 1, Slot.SUSPECT).hex()
        == "df5902473bfc514406b942a9766c514de770ae7c7a893cbb7e10f4323eacbbb4"
    )


def test_nothing_is_derived_twice():
    roots = [derive_root(epoch, output) for epoch in (1, 2) for output in (OUTPUT, bytes(64))]
    found = [tag for root in roots for number in (1, 2, 256) for tag in derive_tags(root, number)]
    found += [
        derive_record_key(root, number, slot)[:16]
        for root in roots
        for number in (1, 2, 256)
        for slot in Slot
    ]
    assert len(set(found)) == len(found) == 48


@pytest.mark.parametrize("count", [0, 1, 3, 1000])
@pytest.mark.parametrize("numbers", [[1], [3, 1, 65_535], []])
@pytest.mark.parametrize("form", [list, b"".join], ids=["list", "joined"])
def test_table_has_the_beginning_of_every_tag(count, numbers, form):
    source = random.Random(count)
    roots = [source.randbytes(32) for _ in range(count)]
    table = tag_table(form(roots), numbers)
    assert table.shape == (count, 2 * len(numbers))
    assert table.dtype == np.uint64
    expected = [
        [int.from_bytes(tag[:8], "big") for number in numbers for tag in derive_tags(root, number)]
        for root in roots
    ]
    assert table.tolist() == expected


def test_table_is_whole_across_its_pieces():
    source = random.Random(1)
    roots = source.randbytes(65_538 * 32)
    table = tag_table(roots, [7])
    for row in (0, 65_535, 65_536, 65_537):
        tags = derive_tags(roots[row * 32 :][:32], 7)
        assert table[row].tolist() == [int.from_bytes(tag[:8], "big") for tag in tags]


@pytest.mark.parametrize("number", [0, -1, 65_536])
def test_contributor_out_of_range_is_refused(number):
    for refused in (
        lambda: derive_tags(ROOT, number),
        lambda: derive_record_key(ROOT, number, Slot.SUSPECT),
        lambda: tag_table([ROOT], [number]),
    ):
        with pytest.raises(UnsupportedParameterError, match="contributor"):
            refused()


@pytest.mark.parametrize("size", [0, 31, 33, 63, 65])
def test_input_of_another_size_is_refused(size):
    for refused in (
        lambda: derive_root(1, bytes(size)),
        lambda: derive_tags(bytes(size), 1),
        lambda: tag_table([bytes(size)], [1]),
        lambda: tag_table(bytes(size or 1), [1]),
    ):
        with pytest.raises(UnsupportedParameterError):
            refused()
