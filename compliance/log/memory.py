"""A storage that keeps the contract in memory, but for surviving the process: for tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from compliance.errors import LogCorruptError
from compliance.log.errors import EntryPrunedError
from compliance.log.storage import (
    Batch,
    Edge,
    Erasure,
    Place,
    SealedPart,
    check_continues,
    check_minimum,
    check_readable,
    is_pruned,
)


@dataclass(slots=True)
class _Shelf:
    """One log."""

    edge: Edge = field(default_factory=Edge)
    entries: list[bytes] = field(default_factory=list)
    tiles: dict[tuple[int, int], tuple[bytes, bytes]] = field(default_factory=dict)
    parts: dict[int, SealedPart | Erasure] = field(default_factory=dict)
    documents: dict[bytes, list[int]] = field(default_factory=dict)
    checkpoint: bytes | None = None
    minimum: int = 0


class _MemoryTurn:
    """A batch that is kept aside until the turn ends."""

    def __init__(self, storage: MemoryStorage, origin: str, edge: Edge) -> None:
        self._storage = storage
        self._origin = origin
        self._edge = edge
        self.batch: Batch | None = None

    @property
    def edge(self) -> Edge:
        return self._edge

    def entries(self, start: int, end: int) -> list[bytes]:
        return self._storage.entries(self._origin, start, end)

    def append(self, batch: Batch) -> None:
        if self.batch is not None:
            raise RuntimeError("turn: one batch only")
        check_continues(batch, self._edge)
        self.batch = batch


class MemoryStorage:
    """The contract of `compliance.log.storage` over dictionaries."""

    def __init__(self) -> None:
        self._logs: dict[str, _Shelf] = {}
        self._turn = threading.Lock()  # one for all logs: in memory a turn is short
        self._lock = threading.RLock()

    def register(self, origin: str) -> None:
        """Make an empty log, if there is none of this origin."""
        with self._lock:
            self._logs.setdefault(origin, _Shelf())

    def origins(self) -> list[str]:
        """Return the origins of all logs, sorted."""
        with self._lock:
            return sorted(self._logs)

    @contextmanager
    def exclusive(self, origin: str) -> Iterator[_MemoryTurn]:
        """Wait for the right to write a log; an error inside the block undoes all of it."""
        with self._turn:
            turn = _MemoryTurn(self, origin, self.edge(origin))
            yield turn
            if turn.batch is not None:
                self._keep(origin, turn.batch)

    def edge(self, origin: str) -> Edge:
        """Return how far the log has come."""
        with self._lock:
            return self._log(origin).edge

    def entries(self, origin: str, start: int, end: int) -> list[bytes]:
        """Return the entries `start` to `end - 1`."""
        with self._lock:
            log = self._log(origin)
            check_readable(start, end, log.edge.size)
            if start < end and is_pruned(start, log.minimum):
                raise EntryPrunedError(f"entry {start}: below the minimum index {log.minimum}")
            return log.entries[start:end]

    def full_tile(self, origin: str, level: int, index: int) -> bytes:
        """Return the 256 hashes of a full tile."""
        return self._tile(origin, level, index)[0]

    def tile_roots(self, origin: str, level: int, start: int, end: int) -> list[bytes]:
        """Return the own hashes of the full tiles `start` to `end - 1` of a level."""
        return [self._tile(origin, level, index)[1] for index in range(start, end)]

    def checkpoint(self, origin: str) -> bytes | None:
        """Return the checkpoint that was published last."""
        with self._lock:
            return self._log(origin).checkpoint

    def swap_checkpoint(self, origin: str, old: bytes | None, new: bytes) -> bool:
        """Replace the published checkpoint if it is still `old`; tell whether it was."""
        with self._lock:
            log = self._log(origin)
            if log.checkpoint != old:
                return False
            log.checkpoint = new
            return True

    def minimum(self, origin: str) -> int:
        """Return the index from which entries are given out."""
        with self._lock:
            return self._log(origin).minimum

    def raise_minimum(self, origin: str, index: int) -> None:
        """Stop giving out entries below `index`."""
        with self._lock:
            log = self._log(origin)
            check_minimum(index, log.minimum, log.edge.size)
            log.minimum = index

    def find_documents(self, digest: bytes) -> list[Place]:
        """Return where the document of this SHA-256 is put on record, sorted."""
        with self._lock:
            return sorted(
                Place(origin, index)
                for origin, log in self._logs.items()
                for index in log.documents.get(digest, ())
            )

    def part(self, place: Place) -> SealedPart | Erasure | None:
        """Return the private part of an entry, what is left of it, or None."""
        with self._lock:
            return self._log(place.origin).parts.get(place.index)

    def find_parts(self, tag: bytes) -> list[Place]:
        """Return where private parts with this tag are, sorted."""
        with self._lock:
            return sorted(
                Place(origin, index)
                for origin, log in self._logs.items()
                for index, part in log.parts.items()
                if isinstance(part, SealedPart) and tag in {part.case_tag, part.subject_tag}
            )

    def erase_parts(self, tag: bytes, now: int) -> list[Place]:
        """Erase all private parts with this tag; return where they were."""
        with self._lock:
            places = self.find_parts(tag)
            for place in places:
                self._log(place.origin).parts[place.index] = Erasure(now)
            return places

    def _keep(self, origin: str, batch: Batch) -> None:
        with self._lock:
            log = self._log(origin)
            log.entries += batch.entries
            for item in batch.tiles:
                log.tiles[item.tile.level, item.tile.index] = (item.data, item.root)
            log.parts.update(batch.parts)
            for index, digest in batch.documents:
                log.documents.setdefault(digest, []).append(index)
            log.edge = batch.after

    def _tile(self, origin: str, level: int, index: int) -> tuple[bytes, bytes]:
        with self._lock:
            found = self._log(origin).tiles.get((level, index))
        if found is None:
            raise LogCorruptError(f"log: tile {index} of level {level} is missing")
        return found

    def _log(self, origin: str) -> _Shelf:
        if origin not in self._logs:
            raise ValueError(f"no log {origin}; register it first")
        return self._logs[origin]
