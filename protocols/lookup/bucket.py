"""Part of a table for askers that cannot hold all of it.

    asker -> hub     index: the first bits of a tag, never of a hash of the identifier
    hub   -> asker   count (u32) || records || zeros     one size for all buckets of a table

The hub cannot compute a tag, and its prefix is shared by 256 records or more, so an index
tells it next to nothing; yet two fetches of one index are a hint that one identifier was
asked for twice. Askers that can hold the table should. A bucket is always fetched, hit or
not: fetching only after a filter has said "perhaps" would tell the hub of every hit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from protocols.errors import InvalidProofError, MalformedMessageError, UnsupportedParameterError
from protocols.lookup.record import RECORD_SIZE
from protocols.lookup.signing import DIGEST_SIZE
from protocols.lookup.table import (
    bucket_bounds,
    bucket_digest,
    bucket_numbers,
    is_rising,
    tag_words,
)

if TYPE_CHECKING:
    from typing_extensions import Buffer  # in collections.abc from Python 3.12 on

COUNT_SIZE = 4
_STEP = 32  # records; a coarse step tells little of how full the fullest bucket is


def bucket_index(tag: bytes, prefix_bits: int) -> int:
    """Return the number of the bucket in which a tag stands."""
    return int.from_bytes(tag[:8], "big") >> (64 - prefix_bits)


def bucket_capacity(data: Buffer, prefix_bits: int) -> int:
    """Return how many records the padded buckets of a table have room for."""
    largest = int(np.diff(bucket_bounds(data, prefix_bits)).max())
    return max(-(-largest // _STEP), 1) * _STEP


def pad_bucket(data: Buffer, prefix_bits: int, index: int, size: int) -> bytes:
    """Cut one bucket out of a table and fill it up to the room of `size` records.

    Args:
        size: `bucket_capacity` of the table, the same for all of its buckets.

    Raises:
        UnsupportedParameterError: no such bucket, or it has more records than `size`.
    Privacy:
        The length of the answer is the same for every index.
    """
    if not 0 <= index < 1 << prefix_bits:
        raise UnsupportedParameterError(f"bucket {index}: not in 0..{(1 << prefix_bits) - 1}")
    start, end = map(int, bucket_bounds(data, prefix_bits, first=index, last=index + 1))
    if end - start > size:
        raise UnsupportedParameterError(
            f"bucket {index}: {end - start} records, padded to {size}; use the table's capacity"
        )
    records = bytes(memoryview(data).cast("B")[start * RECORD_SIZE : end * RECORD_SIZE])
    padding = bytes((size - (end - start)) * RECORD_SIZE)
    return (end - start).to_bytes(COUNT_SIZE, "big") + records + padding


def open_bucket(padded: bytes, digests: bytes, prefix_bits: int, index: int) -> bytes:
    """Return the records of a bucket, in which `table.find` finds a tag.

    Args:
        digests: all digests of the table, which have passed `table.check_digests`.

    Raises:
        MalformedMessageError: not a padded bucket, or it holds records of another one.
        InvalidProofError: not what the contributor has signed.
        UnsupportedParameterError: no such bucket in a table of these digests.
    """
    subject = f"bucket {index}"
    if not 0 <= index < 1 << prefix_bits or len(digests) != DIGEST_SIZE << prefix_bits:
        raise UnsupportedParameterError(f"{subject}: does not fit {len(digests)} bytes of digests")
    room = len(padded) - COUNT_SIZE
    if room < 0 or room % RECORD_SIZE:
        raise MalformedMessageError(f"{subject}: {len(padded)} bytes, no count and whole records")
    count = int.from_bytes(padded[:COUNT_SIZE], "big")
    if count * RECORD_SIZE > room:
        raise MalformedMessageError(f"{subject}: {count} records in {room} bytes")
    end = COUNT_SIZE + count * RECORD_SIZE
    records = padded[COUNT_SIZE:end]
    if padded.count(0, end) != len(padded) - end:
        raise MalformedMessageError(f"{subject}: padding is not zero")
    words = tag_words(records)
    if not is_rising(words) or (bucket_numbers(words, prefix_bits) != index).any():
        raise MalformedMessageError(f"{subject}: records out of order, or of another bucket")
    if bucket_digest(records) != digests[index * DIGEST_SIZE :][:DIGEST_SIZE]:
        raise InvalidProofError(f"{subject}: does not have the signed digest")
    return records
