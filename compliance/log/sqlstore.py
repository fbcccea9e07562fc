"""The log's storage in a database: the same statements for SQLite and PostgreSQL.

A turn is one transaction. On PostgreSQL it holds the row of the log (`for update`), so turns
of different logs do not wait for each other; on SQLite it holds the file (`begin immediate`).
A client that dies frees the lock; one whose commit got no answer holds it until the server
has decided, so the next turn sees the outcome.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, Row, select
from sqlalchemy.exc import IntegrityError

from compliance.errors import LogCorruptError
from compliance.log.engine import disposed_on_error, open_engine, translated, writing
from compliance.log.errors import EntryPrunedError
from compliance.log.schema import DOCUMENTS, ENTRIES, LOGS, PART_KEYS, PARTS, TILES, prepare
from compliance.log.sqlparts import SqlParts
from compliance.log.storage import (
    Batch,
    Edge,
    Place,
    check_continues,
    check_minimum,
    check_readable,
    is_pruned,
)
from protocols.tlog.lines import HASH_SIZE


class _SqlTurn:
    """The row of one log, held until the transaction ends."""

    def __init__(self, connection: Connection, origin: str) -> None:
        self._connection = connection
        self._row = _log(connection, origin, held=True)
        self._edge = _edge(self._row)
        self._used = False

    @property
    def edge(self) -> Edge:
        return self._edge

    def entries(self, start: int, end: int) -> list[bytes]:
        with translated():
            return _entries(self._connection, self._row, start, end)

    def append(self, batch: Batch) -> None:
        if self._used:
            raise RuntimeError("turn: one batch only")
        check_continues(batch, self._edge)
        self._used = True
        with translated():
            self._insert(self._row.id, batch)

    def _insert(self, log: int, batch: Batch) -> None:
        run, first = self._connection.execute, batch.before.size
        if batch.entries:
            rows = [
                {"log": log, "place": place, "data": data}
                for place, data in enumerate(batch.entries, start=first)
            ]
            run(ENTRIES.insert(), rows)
        for item in batch.tiles:
            where = {"log": log, "level": item.tile.level, "number": item.tile.index}
            run(TILES.insert().values(where | {"data": item.data, "root": item.root}))
        if batch.parts:
            run(PARTS.insert(), [_part_row(log, place, part) for place, part in batch.parts])
            keys = [{"log": log, "place": place, "key": part.key} for place, part in batch.parts]
            run(PART_KEYS.insert(), keys)
        if batch.documents:
            named = [{"log": log, "place": at, "digest": data} for at, data in batch.documents]
            run(DOCUMENTS.insert(), named)
        after = {"size": batch.after.size, "hashes": b"".join(batch.after.hashes)}
        run(LOGS.update().where(LOGS.c.id == log).values(after))


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
        self._engine.dispose()

    def register(self, origin: str) -> None:
        """Make an empty log, if there is none of this origin."""
        if origin in self.origins():
            return
        values = {"origin": origin, "size": 0, "hashes": b"", "minimum": 0}
        with translated():
            try:
                with writing(self._engine).begin() as connection:
                    connection.execute(LOGS.insert().values(values))
            except IntegrityError:
                return  # someone else made it in between

    def origins(self) -> list[str]:
        """Return the origins of all logs, sorted."""
        with self._reading() as connection:
            return sorted(connection.execute(select(LOGS.c.origin)).scalars())

    @contextmanager
    def exclusive(self, origin: str) -> Iterator[_SqlTurn]:
        """Wait for the right to write a log; an error inside the block undoes all of it."""
        with self._writing() as connection:
            yield _SqlTurn(connection, origin)

    def edge(self, origin: str) -> Edge:
        """Return how far the log has come."""
        with self._reading() as connection:
            return _edge(_log(connection, origin))

    def entries(self, origin: str, start: int, end: int) -> list[bytes]:
        """Return the entries `start` to `end - 1`."""
        with self._reading() as connection:
            return _entries(connection, _log(connection, origin), start, end)

    def full_tile(self, origin: str, level: int, index: int) -> bytes:
        """Return the 256 hashes of a full tile."""
        return self._tiles(origin, "data", level, index, index + 1)[0]

    def tile_roots(self, origin: str, level: int, start: int, end: int) -> list[bytes]:
        """Return the own hashes of the full tiles `start` to `end - 1` of a level."""
        return self._tiles(origin, "root", level, start, end) if start < end else []

    def checkpoint(self, origin: str) -> bytes | None:
        """Return the checkpoint that was published last."""
        with self._reading() as connection:
            return _bytes_or_none(_log(connection, origin).checkpoint)

    def swap_checkpoint(self, origin: str, old: bytes | None, new: bytes) -> bool:
        """Replace the published checkpoint if it is still `old`; tell whether it was."""
        with self._writing() as connection:
            row = _log(connection, origin, held=True)
            if _bytes_or_none(row.checkpoint) != old:
                return False
            connection.execute(LOGS.update().where(LOGS.c.id == row.id).values(checkpoint=new))
        return True

    def minimum(self, origin: str) -> int:
        """Return the index from which entries are given out."""
        with self._reading() as connection:
            return int(_log(connection, origin).minimum)

    def raise_minimum(self, origin: str, index: int) -> None:
        """Stop giving out entries below `index`."""
        with self._writing() as connection:
            row = _log(connection, origin, held=True)
            check_minimum(index, row.minimum, row.size)
            connection.execute(LOGS.update().where(LOGS.c.id == row.id).values(minimum=index))

    def find_documents(self, digest: bytes) -> list[Place]:
        """Return where the document of this SHA-256 is put on record, sorted."""
        joined = DOCUMENTS.join(LOGS, LOGS.c.id == DOCUMENTS.c.log)
        query = select(LOGS.c.origin, DOCUMENTS.c.place).select_from(joined)
        with self._reading() as connection:
            rows = connection.execute(query.where(DOCUMENTS.c.digest == digest))
            return sorted(Place(row.origin, row.place) for row in rows)

    def _tiles(self, origin: str, column: str, level: int, start: int, end: int) -> list[bytes]:
        here = (TILES.c.level == level) & (TILES.c.number >= start) & (TILES.c.number < end)
        with self._reading() as connection:
            log = _log(connection, origin).id
            query = select(TILES.c[column]).where((TILES.c.log == log) & here)
            found = connection.execute(query.order_by(TILES.c.number)).scalars()
            tiles = [bytes(item) for item in found]
        if len(tiles) != end - start:
            raise LogCorruptError(f"log: a tile {start} to {end - 1} of level {level} is missing")
        return tiles


def _log(connection: Connection, origin: str, *, held: bool = False) -> Row[Any]:
    query = select(LOGS).where(LOGS.c.origin == origin)
    row = connection.execute(query.with_for_update() if held else query).one_or_none()
    if row is None:
        raise ValueError(f"no log {origin}; register it first")
    return row


def _edge(row: Row[Any]) -> Edge:
    hashes = bytes(row.hashes)
    found = tuple(hashes[at : at + HASH_SIZE] for at in range(0, len(hashes), HASH_SIZE))
    if len(found) != row.size.bit_count() or len(hashes) % HASH_SIZE:
        raise LogCorruptError(f"log: {len(hashes)} bytes of hashes do not fit size {row.size}")
    return Edge(row.size, found)


def _entries(connection: Connection, row: Row[Any], start: int, end: int) -> list[bytes]:
    check_readable(start, end, row.size)
    if start < end and is_pruned(start, row.minimum):
        raise EntryPrunedError(f"entry {start}: below the minimum index {row.minimum}")
    place = ENTRIES.c.place
    here = (ENTRIES.c.log == row.id) & (place >= start) & (place < end)
    query = select(ENTRIES.c.data).where(here).order_by(place)
    found = [bytes(data) for data in connection.execute(query).scalars()]
    if len(found) != end - start:
        raise LogCorruptError(f"log: an entry of {start} to {end - 1} is missing")
    return found


def _part_row(log: int, place: int, part: Any) -> dict[str, Any]:
    return {
        "log": log,
        "place": place,
        "commitment": part.commitment,
        "sealed": part.sealed,
        "case_tag": part.case_tag,
        "subject_tag": part.subject_tag,
    }


def _bytes_or_none(value: Any) -> bytes | None:
    return None if value is None else bytes(value)
