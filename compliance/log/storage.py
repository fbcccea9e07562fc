"""What the audit log asks of a storage: the contract that every storage keeps.

One storage holds several logs, each under its origin, and the private parts of their entries.

Durability: what a method wrote is on disk when it returns, or when the `with` block of
`exclusive` ends; a power cut thereafter loses nothing of it. A crash before leaves all of a
batch or none of it: entries, tiles, edge, documents and private parts are one transaction.

Order: the entries of a log have the indices 0, 1, 2, ... without a gap, in the order in which
their batches were appended; what was appended is never changed. A reader sees whole batches.

Concurrency: threads and processes may use one storage at once. `exclusive` lets one writer of
a log in at a time and holds off the others; readers are not held off. A killed process frees
its turn, and its unfinished batch is not there.

Failure: a method that cannot do its work raises `StorageError`. Behind `exclusive` it is then
open whether the batch is there; the next turn begins only when that is decided, so whoever
waits for a turn and looks knows.

Privacy: private parts arrive sealed, each under a key of its own, and the tags by which they
are found are keyed hashes. Erasing destroys key, ciphertext and tags; what was erased, and
when, stays on record without them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from compliance.errors import LogConflictError, LogCorruptError
from protocols.tlog.merkle import fold_right
from protocols.tlog.tiles import FULL, Tile


@dataclass(frozen=True, slots=True)
class Edge:
    """How far a log has come: its size and the roots of its full subtrees, largest first."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def root(self) -> bytes:
        """Return the root over all entries."""
        return fold_right(self.hashes)


@dataclass(frozen=True, slots=True)
class FullTile:
    """A tile of 256 hashes with its own hash, which stands in the level above."""

    tile: Tile
    data: bytes
    root: bytes


@dataclass(frozen=True, slots=True)
class SealedPart:
    """The private part of one entry as it is stored.

    Args:
        commitment: what the entry says of it.
        sealed: the part with its salt, encrypted under a key of its own.
        key: that key, wrapped under one that the storage does not have.
        case_tag, subject_tag: keyed hashes by which the part is found.
    """

    commitment: bytes
    sealed: bytes = field(repr=False)
    key: bytes = field(repr=False)
    case_tag: bytes = field(repr=False)
    subject_tag: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Erasure:
    """A private part was here; `at` is when it was erased, in Unix seconds."""

    at: int


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """One entry of one log."""

    origin: str
    index: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries to append, with all that changes in the same transaction.

    Args:
        before: the edge that the batch continues; `after`, the edge with it.
        tiles: the tiles that it fills.
        parts: private parts with the index of their entry, which is one of the batch.
        documents: SHA-256 of public documents with the index of the entry that names each.
    """

    before: Edge
    after: Edge
    entries: tuple[bytes, ...]
    tiles: tuple[FullTile, ...] = ()
    parts: tuple[tuple[int, SealedPart], ...] = ()
    documents: tuple[tuple[int, bytes], ...] = ()

    def __post_init__(self) -> None:
        if self.before.size + len(self.entries) != self.after.size:
            raise ValueError("batch: the edges do not differ by its entries")


class Turn(Protocol):
    """The right to write one log, until the block of `exclusive` ends."""

    @property
    def edge(self) -> Edge:
        """How far the log has come; nobody else moves it during the turn."""
        ...

    def entries(self, start: int, end: int) -> list[bytes]:
        """As `Storage.entries`."""
        ...

    def append(self, batch: Batch) -> None:
        """Append a batch, once a turn; it is durable when the block ends without error.

        Raises:
            LogConflictError: the batch continues another size; carries the size that is there.
            LogCorruptError: the size is right and the hashes are not: a fork.
        """
        ...


class Storage(Protocol):
    """Keeps logs; the rules are those of the module."""

    def register(self, origin: str) -> None:
        """Make an empty log, if there is none of this origin."""
        ...

    def origins(self) -> list[str]:
        """Return the origins of all logs, sorted."""
        ...

    def exclusive(self, origin: str) -> AbstractContextManager[Turn]:
        """Wait for the right to write a log; an error inside the block undoes all of it."""
        ...

    def edge(self, origin: str) -> Edge:
        """Return how far the log has come."""
        ...

    def entries(self, origin: str, start: int, end: int) -> list[bytes]:
        """Return the entries `start` to `end - 1`.

        Raises:
            EntryPrunedError: `start` lies in a full bundle below the minimum index.
            LogCorruptError: an entry is missing.
        """
        ...

    def full_tile(self, origin: str, level: int, index: int) -> bytes:
        """Return the 256 hashes of a full tile.

        Raises:
            LogCorruptError: the tile is missing.
        """
        ...

    def tile_roots(self, origin: str, level: int, start: int, end: int) -> list[bytes]:
        """Return the own hashes of the full tiles `start` to `end - 1` of a level.

        Raises:
            LogCorruptError: a tile is missing.
        """
        ...

    def checkpoint(self, origin: str) -> bytes | None:
        """Return the checkpoint that was published last, with its cosignatures."""
        ...

    def swap_checkpoint(self, origin: str, old: bytes | None, new: bytes) -> bool:
        """Replace the published checkpoint if it is still `old`; tell whether it was."""
        ...

    def minimum(self, origin: str) -> int:
        """Return the index from which entries are given out."""
        ...

    def raise_minimum(self, origin: str, index: int) -> None:
        """Stop giving out entries below `index`; nothing is deleted, tiles stay.

        Raises:
            ValueError: below the minimum that is there, or past the end of the log.
        """
        ...

    def find_documents(self, digest: bytes) -> list[Place]:
        """Return where the document of this SHA-256 is put on record, sorted."""
        ...

    def part(self, place: Place) -> SealedPart | Erasure | None:
        """Return the private part of an entry, what is left of it, or None if there is none."""
        ...

    def find_parts(self, tag: bytes) -> list[Place]:
        """Return where private parts with this tag are, sorted."""
        ...

    def erase_parts(self, tag: bytes, now: int) -> list[Place]:
        """Erase all private parts with this tag beyond recovery; return where they were."""
        ...


def check_readable(start: int, end: int, size: int) -> None:
    """Refuse a range that is not one of entries of a log of this size."""
    if not 0 <= start <= end <= size:
        raise ValueError(f"entries {start} to {end} are not in a log of {size}")


def is_pruned(index: int, minimum: int) -> bool:
    """Whether an entry may be refused: all of its full bundle is below the minimum index.

    Source:
        C2SP tlog-tiles, section Pruning: a bundle whose end index "is below or equal to the
        minimum index".
    """
    return (index // FULL + 1) * FULL <= minimum


def check_continues(batch: Batch, edge: Edge) -> None:
    """Refuse a batch that does not continue the log from this edge.

    Raises:
        LogConflictError: another size.
        LogCorruptError: the same size with other hashes.
    """
    if batch.before.size != edge.size:
        raise LogConflictError(
            f"log: {edge.size} entries, the batch continues {batch.before.size}",
            known_size=edge.size,
        )
    if batch.before != edge:
        raise LogCorruptError(f"log: another history of {edge.size} entries")


def check_minimum(index: int, minimum: int, size: int) -> None:
    """Refuse a minimum index that would go back or past the end."""
    if not minimum <= index <= size:
        raise ValueError(f"minimum index {index} is not in {minimum}..{size}")
