"""The log's storage in a database: the same statements for SQLite and PostgreSQL.

A turn is one transaction. On PostgreSQL it holds the row of the log (`for update`), so turns
of different logs do not wait for each other; on SQLite it holds the file (`begin immediate`).
A client that dies frees the lock; one whose commit got no answer holds it until the server
has decided, so the next turn sees the outcome.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Engine

from compliance.errors import LogCorruptError
from compliance.log.errors import EntryPrunedError
from compliance.log.sqlparts import SqlParts
from compliance.log.storage import (
    Batch,
    Edge,
    Place,
    SealedPart,
    check_continues,
    check_minimum,
    check_readable,
    is_pruned,
)
from compliance.state.engine import disposed_on_error, open_engine
from compliance.state.migrating import prepare
from compliance.state.transactions import Work
from protocols.tlog.lines import HASH_SIZE

_ORIGINS = "SELECT origin FROM tlog"
_REGISTER = (
    "INSERT INTO tlog (origin, size, hashes, minimum) VALUES (?, 0, ?, 0) ON CONFLICT DO NOTHING"
)
_LOG = "SELECT id, size, hashes, minimum FROM tlog WHERE origin = ?"
_CHECKPOINT = "SELECT checkpoint FROM tlog WHERE origin = ?"
_ENTRIES = "SELECT data FROM tlog_entry WHERE log = ? AND place >= ? AND place < ? ORDER BY place"
_TILES = "FROM tlog_tile WHERE log = ? AND level = ? AND number >= ? AND number < ? ORDER BY number"
_FULL_TILES, _TILE_ROOTS = f"SELECT data {_TILES}", f"SELECT root {_TILES}"
_DOCUMENTS = (
    "SELECT l.origin, d.place FROM tlog_document AS d JOIN tlog AS l ON l.id = d.log "
    "WHERE d.digest = ?"
)
_ADD_ENTRY = "INSERT INTO tlog_entry (log, place, data) VALUES (?, ?, ?)"
_ADD_TILE = "INSERT INTO tlog_tile (log, level, number, data, root) VALUES (?, ?, ?, ?, ?)"
_ADD_PART = (
    "INSERT INTO tlog_part (log, place, commitment, sealed, case_tag, subject_tag) "
    "VALUES (?, ?, ?, ?, ?, ?)"
)
_ADD_KEY = "INSERT INTO tlog_part_key (log, place, key) VALUES (?, ?, ?)"
_ADD_DOCUMENT = "INSERT INTO tlog_document (log, place, digest) VALUES (?, ?, ?)"
_MOVE_ON = "UPDATE tlog SET size = ?, hashes = ? WHERE id = ?"
_PUBLISH = "UPDATE tlog SET checkpoint = ? WHERE origin = ?"
_RAISE = "UPDATE tlog SET minimum = ? WHERE id = ?"


@dataclass(frozen=True, slots=True)
class _Row:
    """The row of one log."""

    id: int
    size: int
    hashes: bytes
    minimum: int


class _SqlTurn:
    """The row of one log, held until the transaction ends."""

    def __init__(self, work: Work, origin: str) -> None:
        self._work = work
        self._row = _log(work, origin, held=True)
        self._edge = _edge(self._row)
        self._used = False

    @property
    def edge(self) -> Edge:
        return self._edge

    def entries(self, start: int, end: int) -> list[bytes]:
        return _entries(self._work, self._row, start, end)

    def append(self, batch: Batch) -> None:
        if self._used:
            raise RuntimeError("turn: one batch only")
        check_continues(batch, self._edge)
        self._used = True
        self._insert(self._row.id, batch)

    def _insert(self, log: int, batch: Batch) -> None:
        add, first = self._work.run_each, batch.before.size
        add(_ADD_ENTRY, [(log, place, data) for place, data in enumerate(batch.entries, first)])
        add(
            _ADD_TILE,
            [(log, one.tile.level, one.tile.index, one.data, one.root) for one in batch.tiles],
        )
        add(_ADD_PART, [_part_row(log, place, part) for place, part in batch.parts])
        add(_ADD_KEY, [(log, place, part.key) for place, part in batch.parts])
        add(_ADD_DOCUMENT, [(log, place, digest) for place, digest in batch.documents])
        after = batch.after
        self._work.run(_MOVE_ON, (after.size, b"".join(after.hashes), log))


class SqlStorage(SqlParts):
    """The contract of `compliance.log.storage` over a database."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        with disposed_on_error(engine):
            prepare(engine)

    @classmethod
    def open(cls, address: str) -> SqlStorage:
        """Open the storage at `sqlite:///path` or `postgresql://...`; a new one is made ready.

        Raises:
            ConfigError: the address, the server's settings or the version do not fit.
            StorageError: it cannot be reached.
        """
        return cls(open_engine(address))

    def close(self) -> None:
        """Give the connections back."""
        self._transactions.close()

    def register(self, origin: str) -> None:
        """Make an empty log, if there is none of this origin."""
        if origin in self.origins():
            return
        with self._transactions.writing() as work:
            work.run(_REGISTER, (origin, b""))

    def origins(self) -> list[str]:
        """Return the origins of all logs, sorted."""
        with self._transactions.reading() as work:
            return sorted(origin for (origin,) in work.run(_ORIGINS).fetchall())

    @contextmanager
    def exclusive(self, origin: str) -> Iterator[_SqlTurn]:
        """Wait for the right to write a log; an error inside the block undoes all of it."""
        with self._transactions.writing() as work:
            yield _SqlTurn(work, origin)

    def edge(self, origin: str) -> Edge:
        """Return how far the log has come."""
        with self._transactions.reading() as work:
            return _edge(_log(work, origin))

    def entries(self, origin: str, start: int, end: int) -> list[bytes]:
        """Return the entries `start` to `end - 1`."""
        with self._transactions.reading() as work:
            return _entries(work, _log(work, origin), start, end)

    def full_tile(self, origin: str, level: int, index: int) -> bytes:
        """Return the 256 hashes of a full tile."""
        return self._tiles(_FULL_TILES, origin, level, index, index + 1)[0]

    def tile_roots(self, origin: str, level: int, start: int, end: int) -> list[bytes]:
        """Return the own hashes of the full tiles `start` to `end - 1` of a level."""
        return self._tiles(_TILE_ROOTS, origin, level, start, end) if start < end else []

    def checkpoint(self, origin: str) -> bytes | None:
        """Return the checkpoint that was published last."""
        with self._transactions.reading() as work:
            return _checkpoint(work, origin)

    def swap_checkpoint(self, origin: str, old: bytes | None, new: bytes) -> bool:
        """Replace the published checkpoint if it is still `old`; tell whether it was."""
        with self._transactions.writing() as work:
            if _checkpoint(work, origin, held=True) != old:
                return False
            work.run(_PUBLISH, (new, origin))
        return True

    def minimum(self, origin: str) -> int:
        """Return the index from which entries are given out."""
        with self._transactions.reading() as work:
            return _log(work, origin).minimum

    def raise_minimum(self, origin: str, index: int) -> None:
        """Stop giving out entries below `index`."""
        with self._transactions.writing() as work:
            row = _log(work, origin, held=True)
            check_minimum(index, row.minimum, row.size)
            work.run(_RAISE, (index, row.id))

    def find_documents(self, digest: bytes) -> list[Place]:
        """Return where the document of this SHA-256 is put on record, sorted."""
        with self._transactions.reading() as work:
            return sorted(Place(*row) for row in work.run(_DOCUMENTS, (digest,)).fetchall())

    def _tiles(self, query: str, origin: str, level: int, start: int, end: int) -> list[bytes]:
        with self._transactions.reading() as work:
            where = (_log(work, origin).id, level, start, end)
            tiles = [bytes(item) for (item,) in work.run(query, where).fetchall()]
        if len(tiles) != end - start:
            raise LogCorruptError(f"log: a tile {start} to {end - 1} of level {level} is missing")
        return tiles


def _log(work: Work, origin: str, *, held: bool = False) -> _Row:
    row = work.run(_LOG + work.hold if held else _LOG, (origin,)).fetchone()
    if row is None:
        raise _unknown(origin)
    return _Row(*row)


def _checkpoint(work: Work, origin: str, *, held: bool = False) -> bytes | None:
    row = work.run(_CHECKPOINT + work.hold if held else _CHECKPOINT, (origin,)).fetchone()
    if row is None:
        raise _unknown(origin)
    return None if row[0] is None else bytes(row[0])


def _unknown(origin: str) -> ValueError:
    return ValueError(f"no log {origin}; register it first")


def _edge(row: _Row) -> Edge:
    hashes = bytes(row.hashes)
    found = tuple(hashes[at : at + HASH_SIZE] for at in range(0, len(hashes), HASH_SIZE))
    if len(found) != row.size.bit_count() or len(hashes) % HASH_SIZE:
        raise LogCorruptError(f"log: {len(hashes)} bytes of hashes do not fit size {row.size}")
    return Edge(row.size, found)


def _entries(work: Work, row: _Row, start: int, end: int) -> list[bytes]:
    check_readable(start, end, row.size)
    if start < end and is_pruned(start, row.minimum):
        raise EntryPrunedError(f"entry {start}: below the minimum index {row.minimum}")
    if start == end:
        return []
    rows = work.run(_ENTRIES, (row.id, start, end)).fetchall()
    if len(rows) != end - start:
        raise LogCorruptError(f"log: an entry of {start} to {end - 1} is missing")
    return [bytes(data) for (data,) in rows]


def _part_row(log: int, place: int, part: SealedPart) -> tuple[object, ...]:
    return (log, place, part.commitment, part.sealed, part.case_tag, part.subject_tag)
