"""Private parts in the database: reading, finding, and erasing beyond recovery.

On SQLite an erasure ends with the journal folded into the file, in which deleted content is
overwritten: no byte of the key is left in either. On PostgreSQL it ends with a VACUUM; what
is left then are copies outside the table (write-ahead log, standbys, backups), in which the
key stands wrapped. Let those expire within the period that the agreement allows for erasure.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from sqlalchemy import Connection, Engine, select

from compliance.log.engine import translated, writing
from compliance.log.errors import StorageError
from compliance.log.schema import LOGS, PART_KEYS, PARTS
from compliance.log.storage import Erasure, Place, SealedPart


class SqlParts:
    """The part of the contract that concerns private parts."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def part(self, place: Place) -> SealedPart | Erasure | None:
        """Return the private part of an entry, what is left of it, or None."""
        same = (PARTS.c.log == PART_KEYS.c.log) & (PARTS.c.place == PART_KEYS.c.place)
        joined = PARTS.join(LOGS, LOGS.c.id == PARTS.c.log).outerjoin(PART_KEYS, same)
        here = (LOGS.c.origin == place.origin) & (PARTS.c.place == place.index)
        with self._reading() as connection:
            row = connection.execute(
                select(PARTS, PART_KEYS.c.key).select_from(joined).where(here)
            ).one_or_none()
        if row is None:
            return None
        if row.erased_at is not None or row.key is None:
            return Erasure(row.erased_at or 0)
        return SealedPart(
            commitment=bytes(row.commitment),
            sealed=bytes(row.sealed),
            key=bytes(row.key),
            case_tag=bytes(row.case_tag),
            subject_tag=bytes(row.subject_tag),
        )

    def find_parts(self, tag: bytes) -> list[Place]:
        """Return where private parts with this tag are, sorted."""
        with self._reading() as connection:
            return [place for place, _ in _tagged(connection, tag)]

    def erase_parts(self, tag: bytes, now: int) -> list[Place]:
        """Erase all private parts with this tag beyond recovery; return where they were."""
        empty = {"commitment": None, "sealed": None, "case_tag": None, "subject_tag": None}
        with self._writing() as connection:
            found = _tagged(connection, tag)
            for place, log in found:
                key = (PART_KEYS.c.log == log) & (PART_KEYS.c.place == place.index)
                part = (PARTS.c.log == log) & (PARTS.c.place == place.index)
                connection.execute(PART_KEYS.delete().where(key))
                connection.execute(PARTS.update().where(part).values(empty | {"erased_at": now}))
        self._scrub()
        return [place for place, _ in found]

    def _scrub(self) -> None:
        """Take what was deleted out of the files; done again by every further erasure."""
        if self._engine.dialect.name == "postgresql":
            engine = self._engine.execution_options(isolation_level="AUTOCOMMIT")
            with translated(), engine.connect() as connection:
                connection.exec_driver_sql(f"VACUUM {PARTS.name}, {PART_KEYS.name}")
            return
        with translated(), closing(self._engine.raw_connection()) as raw:
            row = raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if row is None or row[0]:
            raise StorageError("erased, but a reader holds old pages of the file; erase again")

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with translated(), writing(self._engine).begin() as connection:
            yield connection


def _tagged(connection: Connection, tag: bytes) -> list[tuple[Place, int]]:
    query = select(LOGS.c.origin, PARTS.c.place, PARTS.c.log)
    joined = query.select_from(PARTS.join(LOGS, LOGS.c.id == PARTS.c.log))
    rows = connection.execute(
        joined.where((PARTS.c.case_tag == tag) | (PARTS.c.subject_tag == tag))
    )
    return sorted((Place(row.origin, row.place), row.log) for row in rows)
