"""The way from one version of a table to a later one.

    contributor -> hub, hub -> asker    Delta   headers before and after, removed, upserted

A delta is applied to the table that its first header describes and must give the one that
its last header describes. `merge` compares the numbers of records; the caller compares
the root with `check_table` before it uses the result.

A composed delta may remove a tag that the first table does not have: the record came and
went in between. A single step may not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.codec import Reader, Writer
from protocols.errors import InvalidProofError, MalformedMessageError, UnsupportedParameterError
from protocols.lookup.changes import Changes, join_rows, plan_changes
from protocols.lookup.derivation import TAG_SIZE
from protocols.lookup.header import (
    NO_DIGEST,
    SignedHeader,
    TableHeader,
    choose_prefix_bits,
    sign_header,
)
from protocols.lookup.record import RECORD_SIZE
from protocols.lookup.table import (
    check_table,
    is_rising,
    joined_words,
    locate,
    stream_digests,
    table_root,
    tag_words,
)

if TYPE_CHECKING:
    from typing_extensions import Buffer  # in collections.abc from Python 3.12 on

VERSION = 1
_SUBJECT = "delta"


@dataclass(frozen=True, slots=True)
class Delta:
    """What to remove from a table and what to put in, in rising order of tags.

    Args:
        before: None if the way begins at nothing; then `upserted` is the whole table.
        removed: tags of 16 bytes, joined.
        upserted: records of 76 bytes, joined; each replaces the one of its tag, if any.
    """

    before: SignedHeader | None
    after: SignedHeader
    removed: bytes = field(repr=False)
    upserted: bytes = field(repr=False)

    def __post_init__(self) -> None:
        removed, upserted = joined_words(self.removed), tag_words(self.upserted)
        if not (is_rising(removed) and is_rising(upserted)):
            raise MalformedMessageError(f"{_SUBJECT}: not in strictly rising order of tags")
        if (locate(self.upserted, removed) >= 0).any():
            raise MalformedMessageError(f"{_SUBJECT}: removes and puts in the same tag")
        count = self.after.header.count
        if self.before is None:
            if len(removed) or len(upserted) != count:
                raise MalformedMessageError(f"{_SUBJECT}: begins at nothing, but is no whole table")
            return
        _check_succession(self.before.header, self.after.header)
        least = self.before.header.count - len(removed) if self.is_step else 0
        most = self.before.header.count + len(upserted)
        if not max(least, len(upserted)) <= count <= most:
            raise MalformedMessageError(f"{_SUBJECT}: cannot lead to {count} records")

    @property
    def is_step(self) -> bool:
        """Whether it leads from one version to the very next."""
        before = 0 if self.before is None else self.before.header.version
        return self.after.header.version == before + 1

    def encode(self) -> bytes:
        """Write `version (u8) || 0 or 1 (u8), before || after || removed || upserted`."""
        out = Writer().u8(VERSION).u8(self.before is not None)
        if self.before is not None:
            out.block(self.before.encode())
        return out.block(self.after.encode()).block(self.removed).block(self.upserted).encode()

    @classmethod
    def decode(cls, data: bytes) -> Delta:
        """Read a delta; `verify_header` judges its headers, `merge` whether it fits a table.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        reader = Reader(data, _SUBJECT)
        if (version := reader.u8()) != VERSION:
            raise MalformedMessageError(f"{_SUBJECT}: version {version}, expected {VERSION}")
        if (has_before := reader.u8()) not in {0, 1}:
            raise MalformedMessageError(f"{_SUBJECT}: {has_before} headers before, expected 0 or 1")
        before = SignedHeader.decode(reader.block()) if has_before else None
        after = SignedHeader.decode(reader.block())
        removed, upserted = reader.block(), reader.block()
        reader.finish()
        return cls(before, after, removed, upserted)


def merge(data: Buffer, delta: Delta) -> Iterator[bytes]:
    """Return the later table in pieces of whole records, 10 MB at most.

    Everything is checked before the first piece. `data` must stay as it is until the last
    one; views of it live as long as the iterator.

    Raises:
        MalformedMessageError: `data` has another size than the header before says.
        InvalidProofError: the delta does not fit the table, or uses a nonce again.
    """
    count = 0 if delta.before is None else delta.before.header.count
    if len(tag_words(data)) != count:
        raise MalformedMessageError(
            f"{_SUBJECT}: applies to {count} records, the table has {len(tag_words(data))}"
        )
    changes = plan_changes(data, delta.removed, delta.upserted)
    if fault := _fault(changes, is_step=delta.is_step):
        raise InvalidProofError(f"{_SUBJECT}: {fault}")
    if changes.count != delta.after.header.count:
        raise InvalidProofError(
            f"{_SUBJECT}: gives {changes.count} records, signed are {delta.after.header.count}"
        )
    return changes.merged()


def make_delta(
    identity: Ed25519PrivateKey,
    data: Buffer,
    before: SignedHeader | None,
    *,
    hub: str,
    epoch: int,
    contributor: str,
    number: int,
    removed: Iterable[bytes],
    upserted: Iterable[bytes],
    now: int,
) -> Delta:
    """Make and sign the next version of a contributor's table.

    Args:
        data: the table that `before` describes; empty for the first version.
        removed: tags to take out, in any order.
        upserted: records to put in, in any order, one a tag.

    Raises:
        UnsupportedParameterError: a tag to remove is not there, a tag has two records, or
            a nonce was used by the version before.
        MalformedMessageError: a tag is removed and put in, a field breaks its rule, or
            `before` describes a table of another name or size.
        InvalidProofError: `data` is not the table that `before` describes.
    Privacy:
        The hub and every asker see how many records came, went and changed, and which
        tags; no tag says for whom it stands.
    """
    if before is not None:
        # A version signed on top of a damaged table could be reached by nobody.
        check_table(before.header, data)
    tags, records = _sorted(removed, TAG_SIZE, "tag"), _sorted(upserted, RECORD_SIZE, "record")
    if not is_rising(tag_words(records)):
        raise UnsupportedParameterError(f"{_SUBJECT}: two records of one tag; keep the later one")
    if before is None and len(tag_words(data)):
        raise UnsupportedParameterError(f"{_SUBJECT}: a table without a header before it")
    changes = plan_changes(data, tags, records)
    if fault := _fault(changes, is_step=True):
        raise UnsupportedParameterError(f"{_SUBJECT}: {fault}")
    bits = choose_prefix_bits(changes.count)
    digests = stream_digests(changes.merged(), bits)
    header = TableHeader(
        hub=hub,
        epoch=epoch,
        contributor=contributor,
        number=number,
        version=1 if before is None else before.header.version + 1,
        count=changes.count,
        prefix_bits=bits,
        root=table_root(epoch, number, bits, changes.count, digests),
        previous=NO_DIGEST if before is None else before.header.digest,
        made_at=now,
    )
    return Delta(before, sign_header(identity, header), tags, records)


def compose(deltas: Sequence[Delta]) -> Delta:
    """Join deltas that follow each other into one; of each tag the last word counts.

    Raises:
        InvalidProofError: one does not begin where the one before it ends.
        UnsupportedParameterError: there is none.
    """
    if not deltas:
        raise UnsupportedParameterError("deltas: none given")
    for first, second in pairwise(deltas):
        if second.before is None or second.before.header != first.after.header:
            raise InvalidProofError("deltas: one does not begin where the one before it ends")
    removed, upserted = _last_words(deltas)
    before = deltas[0].before
    return Delta(before, deltas[-1].after, b"" if before is None else removed, upserted)


def _last_words(deltas: Sequence[Delta]) -> tuple[bytes, bytes]:
    """Return the tags whose last word is to go, and the records whose last word is to stay."""
    words, sources = [np.empty((0, 2), np.uint64)], [np.empty(0, np.int64)]
    total = 0
    for delta in deltas:
        count = len(delta.upserted) // RECORD_SIZE
        words += [joined_words(delta.removed), tag_words(delta.upserted)]
        gone = np.full(len(delta.removed) // TAG_SIZE, -1, np.int64)
        sources += [gone, np.arange(total, total + count)]
        total += count
    tags, source = np.concatenate(words).astype(np.uint64), np.concatenate(sources)
    # The sort is stable, so that words about one tag stay in the order in which they came.
    order = np.lexsort((tags[:, 1], tags[:, 0]))
    tags, source = tags[order], source[order]
    is_last = np.ones(len(tags), np.bool_)
    is_last[:-1] = (tags[1:] != tags[:-1]).any(axis=1)
    is_gone = source < 0
    rows = join_rows([delta.upserted for delta in deltas])
    removed = tags[is_last & is_gone].astype(">u8").tobytes()
    return removed, rows[source[is_last & ~is_gone]].tobytes()


def _sorted(items: Iterable[bytes], size: int, name: str) -> bytes:
    distinct = sorted(set(items))
    if any(len(item) != size for item in distinct):
        raise MalformedMessageError(f"{_SUBJECT}: a {name} is not of {size} bytes")
    return b"".join(distinct)


def _check_succession(before: TableHeader, after: TableHeader) -> None:
    names = ("hub", "epoch", "contributor", "number")
    for name in names:
        if getattr(before, name) != getattr(after, name):
            raise MalformedMessageError(f"{_SUBJECT}: leads to a table of another {name}")
    if after.version <= before.version:
        raise MalformedMessageError(
            f"{_SUBJECT}: leads from version {before.version} to {after.version}"
        )
    if after.version == before.version + 1 and after.previous != before.digest:
        raise MalformedMessageError(
            f"{_SUBJECT}: the header after does not continue the one before"
        )


def _fault(changes: Changes, *, is_step: bool) -> str | None:
    """Say why changes may not be applied."""
    if is_step and changes.missing:
        return f"removes {changes.missing} tags that the table does not have"
    if changes.reused_nonces:
        return (
            f"{changes.reused_nonces} records use the nonce of the version before; seal them anew"
        )
    return None
