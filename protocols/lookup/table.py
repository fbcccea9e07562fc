"""A contributor's table: records in strictly rising order of their tags, under one root.

    table  = record || record || ...           76 bytes each, one record a tag at most
    bucket = the records whose tags begin with the same `prefix_bits` bits
    root   = SHA-256(domain || epoch || number || prefix_bits || count || bucket digests)

The contributor signs a header with the root, so the hub can serve the table, any bucket
of it or the way from one version to the next, and can change none of them. The version
is not part of the root: a table that comes back to old contents has its old root again.

Tables come as any buffer, a mapped file included; nothing here copies one. Views of the
buffer end with the call, so that a map can be closed after it.

Tags are compared as two big-endian words. Their leading bits are uniform, since tags come
out of a keyed function, so that buckets are about equally full.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from protocols.errors import InvalidProofError, MalformedMessageError, UnsupportedParameterError
from protocols.lookup.derivation import TAG_SIZE
from protocols.lookup.header import (
    MAX_PREFIX_BITS,
    SignedHeader,
    TableHeader,
    choose_prefix_bits,
    sign_header,
    verify_header,
)
from protocols.lookup.record import RECORD_SIZE
from protocols.lookup.signing import DIGEST_SIZE

if TYPE_CHECKING:
    from typing_extensions import Buffer  # in collections.abc from Python 3.12 on

__all__ = [
    "SignedHeader",
    "TableHeader",
    "bucket_digests",
    "check_table",
    "choose_prefix_bits",
    "find",
    "sign_header",
    "stream_digests",
    "table_root",
    "tag_prefixes",
    "verify_header",
]

Words = NDArray[np.uint64]  # (n, 2): tags as two words each, which compare as the bytes do
CHUNK = 65_536  # records worked on at once: 5 MB
_ROOT_DOMAIN = b"lianfang/lookup/table/v1"
_BUCKET_DOMAIN = b"lianfang/lookup/bucket/v1"
_WORD = 8
_SEARCHED = 4096  # tags looked for at once


def find(data: Buffer, tag: bytes) -> bytes | None:
    """Return the record with this tag, or None, in about 20 steps for a million records.

    The table must have passed `check_table`: in a table out of order a record is missed.
    """
    view = _records(data)
    low, high = 0, len(view) // RECORD_SIZE
    while low < high:
        middle = (low + high) // 2
        if bytes(view[middle * RECORD_SIZE :][:TAG_SIZE]) < tag:
            low = middle + 1
        else:
            high = middle
    record = bytes(view[low * RECORD_SIZE :][:RECORD_SIZE])
    return record if record[:TAG_SIZE] == tag else None


def locate(data: Buffer, tags: Words) -> NDArray[np.int64]:
    """Return the row of every tag, or -1 where the table has none.

    Shapes:
        tags: (n, 2), in any order, of `joined_words` or `tag_words`; result: (n,).
    """
    rows = first_rows(data, tags)
    return np.where(is_at(data, tags, rows), rows, -1)


def first_rows(data: Buffer, tags: Words) -> NDArray[np.int64]:
    """Return the first row whose tag is not below each given tag; the count if all are.

    A binary search for many at once: it touches the table only where it compares, while
    `numpy.searchsorted` would copy a column of it first. Of rising tags every piece looks
    at one stretch of the table, so that little of a mapped file is needed at a time.

    Shapes:
        tags: (n, 2), in any order, of `joined_words` or `tag_words`; result: (n,).
    """
    table = tag_words(data)
    found = np.empty(len(tags), np.int64)
    for start in range(0, len(tags), _SEARCHED):
        piece = slice(start, start + _SEARCHED)
        found[piece] = _search(table, tags[piece].astype(np.uint64))
    return found


def is_at(data: Buffer, tags: Words, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the table has each tag exactly at the given row."""
    table = tag_words(data)
    found = np.zeros(len(tags), np.bool_)
    if not len(table):
        return found
    for start in range(0, len(tags), _SEARCHED):
        piece = slice(start, start + _SEARCHED)
        near = np.minimum(rows[piece], len(table) - 1)
        found[piece] = (table[near] == tags[piece]).all(axis=1) & (rows[piece] < len(table))
    return found


def _search(table: Words, wanted: Words) -> NDArray[np.int64]:
    high, low = wanted[:, 0], wanted[:, 1]
    start = np.zeros(len(wanted), np.int64)
    end = np.full(len(wanted), len(table), np.int64)
    for _ in range(len(table).bit_length()):
        middle = (start + end) // 2
        # A search that has ended at the count must not read behind the last row.
        probed = table[np.minimum(middle, len(table) - 1)].astype(np.uint64)
        is_below = (probed[:, 0] < high) | ((probed[:, 0] == high) & (probed[:, 1] < low))
        is_open = start < end
        start = np.where(is_open & is_below, middle + 1, start)
        end = np.where(is_open & ~is_below, middle, end)
    return start


def tag_prefixes(data: Buffer) -> NDArray[np.uint64]:
    """Return the first eight bytes of every tag, in order, as numbers.

    Shapes:
        result: (count,), strictly rising but for two tags of equal beginning.
    """
    table = tag_words(data)
    found = np.empty(len(table), np.uint64)
    for start in range(0, len(table), CHUNK):
        found[start : start + CHUNK] = table[start : start + CHUNK, 0]
    return found


def bucket_digests(data: Buffer, prefix_bits: int) -> bytes:
    """Return the digests of all buckets, 32 bytes each, in order.

    Raises:
        MalformedMessageError: not whole records, or not in the order of their buckets.
    """
    return stream_digests(_slices(_records(data)), prefix_bits)


def stream_digests(chunks: Iterable[Buffer], prefix_bits: int) -> bytes:
    """Return the digests of all buckets of a table that comes in pieces of whole records.

    Raises:
        MalformedMessageError: not whole records, or not in the order of their buckets.
    """
    _require_bits(prefix_bits)
    digests: list[bytes] = []
    open_bucket = sha256(_BUCKET_DOMAIN)
    for chunk in chunks:
        view = _records(chunk)
        buckets = bucket_numbers(tag_words(view), prefix_bits)
        cuts = [0, *(np.flatnonzero(np.diff(buckets)) + 1).tolist(), len(buckets)]
        for start, end in pairwise(cuts):
            if start == end:
                continue
            bucket = int(buckets[start])
            if bucket < len(digests):
                raise MalformedMessageError("table: records are not in rising order")
            while len(digests) < bucket:
                digests.append(open_bucket.digest())
                open_bucket = sha256(_BUCKET_DOMAIN)
            open_bucket.update(view[start * RECORD_SIZE : end * RECORD_SIZE])
    empty = sha256(_BUCKET_DOMAIN).digest()
    digests.append(open_bucket.digest())
    return b"".join(digests) + empty * ((1 << prefix_bits) - len(digests))


def bucket_digest(records: Buffer) -> bytes:
    """Return the digest of one bucket."""
    return stream_digests([records], 0)


def bucket_bounds(
    data: Buffer, prefix_bits: int, *, first: int = 0, last: int | None = None
) -> NDArray[np.int64]:
    """Return the first row of each bucket from `first` on, and the row after bucket `last - 1`.

    Shapes:
        result: (last - first + 1,); without `last`, up to the last bucket.
    """
    _require_bits(prefix_bits)
    total = 1 << prefix_bits
    last = total if last is None else last
    inner = np.arange(first, min(last, total - 1) + 1, dtype=np.uint64)
    starts = np.zeros((len(inner), 2), np.uint64)
    if prefix_bits:  # a shift by 64 bits is undefined
        starts[:, 0] = inner << np.uint64(64 - prefix_bits)
    rows = first_rows(data, starts)
    # Behind the last bucket there is no tag to look for.
    return np.append(rows, len(tag_words(data))) if last == total else rows


def bucket_numbers(words: Words, prefix_bits: int) -> NDArray[np.uint64]:
    """Return the number of the bucket of every tag."""
    if not prefix_bits:  # a shift by 64 bits is undefined
        return np.zeros(len(words), np.uint64)
    return words[:, 0].astype(np.uint64) >> np.uint64(64 - prefix_bits)


def table_root(epoch: int, number: int, prefix_bits: int, count: int, digests: bytes) -> bytes:
    """Return the root over the digests of all buckets.

    Raises:
        MalformedMessageError: the digests are not as many as there are buckets.
    """
    _require_bits(prefix_bits)
    if len(digests) != DIGEST_SIZE << prefix_bits:
        raise MalformedMessageError(
            f"digests: {len(digests)} bytes, expected {DIGEST_SIZE << prefix_bits} "
            f"for {prefix_bits} prefix bits"
        )
    head = b"%b%b%b%c%b" % (
        _ROOT_DOMAIN,
        epoch.to_bytes(8, "big"),
        number.to_bytes(4, "big"),
        prefix_bits,
        count.to_bytes(8, "big"),
    )
    return sha256(head + digests).digest()


def check_digests(header: TableHeader, digests: bytes) -> None:
    """Return only if these are the bucket digests of the table that the header describes.

    Raises:
        MalformedMessageError: another number of digests than buckets.
        InvalidProofError: they give another root.
    """
    found = table_root(header.epoch, header.number, header.prefix_bits, header.count, digests)
    if found != header.root:
        raise InvalidProofError(f"table of {header.contributor}: does not have the signed root")


def check_table(header: TableHeader, data: Buffer) -> None:
    """Return only if this is the table that the header describes, whole and in order.

    Raises:
        MalformedMessageError: another size than the header says, or not strictly rising.
        InvalidProofError: the contents have another root.
    """
    view = _records(data)
    subject = f"table of {header.contributor}"
    if len(view) != header.count * RECORD_SIZE:
        raise MalformedMessageError(
            f"{subject}: {len(view)} bytes, expected {header.count * RECORD_SIZE} "
            f"for {header.count} records"
        )
    if not is_rising(tag_words(view)):
        raise MalformedMessageError(f"{subject}: records are not in strictly rising order of tags")
    check_digests(header, bucket_digests(view, header.prefix_bits))


def tag_words(data: Buffer) -> Words:
    """Return a view of the tags of a table, as two big-endian words each.

    Shapes:
        result: (count, 2), in the table's own bytes: neither contiguous nor aligned.
    """
    return _words(_records(data), RECORD_SIZE)


def joined_words(tags: Buffer) -> Words:
    """Return a view of joined tags, as two big-endian words each.

    Raises:
        MalformedMessageError: not whole tags.
    """
    view = memoryview(tags).cast("B")
    if len(view) % TAG_SIZE:
        raise MalformedMessageError(f"tags: {len(view)} bytes, no multiple of {TAG_SIZE}")
    return _words(view, TAG_SIZE)


def is_rising(words: Words) -> bool:
    """Whether tags rise strictly; looks at a piece at a time, so that memory is bounded."""
    for start in range(0, len(words), CHUNK):
        # One more, for the step to the next piece.
        piece = words[start : start + CHUNK + 1].astype(np.uint64)
        high, low = piece[:, 0], piece[:, 1]
        above = (high[1:] > high[:-1]) | ((high[1:] == high[:-1]) & (low[1:] > low[:-1]))
        if not above.all():
            return False
    return True


def _words(view: memoryview, size: int) -> Words:
    shape, strides = (len(view) // size, 2), (size, _WORD)
    return np.ndarray(shape, np.dtype(">u8"), view, strides=strides)


def _slices(view: memoryview) -> Iterator[memoryview]:
    step = CHUNK * RECORD_SIZE
    return (view[at : at + step] for at in range(0, len(view), step))


def _records(data: Buffer) -> memoryview:
    view = memoryview(data).cast("B")
    if len(view) % RECORD_SIZE:
        raise MalformedMessageError(f"table: {len(view)} bytes, no multiple of {RECORD_SIZE}")
    return view


def _require_bits(prefix_bits: int) -> None:
    if not 0 <= prefix_bits <= MAX_PREFIX_BITS:
        raise UnsupportedParameterError(f"prefix bits: {prefix_bits}, not in 0..{MAX_PREFIX_BITS}")
