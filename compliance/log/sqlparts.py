"""Private parts in the database: reading, finding, and erasing beyond recovery.

On SQLite an erasure ends with the journal folded into the file, in which deleted content is
overwritten: no byte of the key is left in either. On PostgreSQL it ends with a VACUUM; what
is left then are copies outside the table (write-ahead log, standbys, backups), in which the
key stands wrapped. Let those expire within the period that the agreement allows for erasure.
"""

from __future__ import annotations

from contextlib import closing

from sqlalchemy import Engine

from compliance.log.errors import StorageError
from compliance.log.storage import Erasure, Place, SealedPart
from compliance.state.engine import translated
from compliance.state.transactions import Transactions, Work

_PART = (
    "SELECT p.commitment, p.sealed, p.case_tag, p.subject_tag, p.erased_at, k.key "
    "FROM tlog_part AS p JOIN tlog AS l ON l.id = p.log "
    "LEFT JOIN tlog_part_key AS k ON k.log = p.log AND k.place = p.place "
    "WHERE l.origin = ? AND p.place = ?"
)
_TAGGED = (
    "SELECT l.origin, p.place, p.log FROM tlog_part AS p JOIN tlog AS l ON l.id = p.log "
    "WHERE p.case_tag = ? OR p.subject_tag = ?"
)
_DELETE_KEY = "DELETE FROM tlog_part_key WHERE log = ? AND place = ?"
_EMPTY_PART = (
    "UPDATE tlog_part SET commitment = NULL, sealed = NULL, case_tag = NULL, subject_tag = NULL, "
    "erased_at = ? WHERE log = ? AND place = ?"
)


class SqlParts:
    """The part of the contract that concerns private parts."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._transactions = Transactions(engine)

    def part(self, place: Place) -> SealedPart | Erasure | None:
        """Return the private part of an entry, what is left of it, or None."""
        with self._transactions.reading() as work:
            row = work.run(_PART, (place.origin, place.index)).fetchone()
        if row is None:
            return None
        *stored, erased_at, key = row
        if erased_at is not None or key is None:
            return Erasure(erased_at or 0)
        commitment, sealed, case_tag, subject_tag = map(bytes, stored)
        return SealedPart(commitment, sealed, bytes(key), case_tag, subject_tag)

    def find_parts(self, tag: bytes) -> list[Place]:
        """Return where private parts with this tag are, sorted."""
        with self._transactions.reading() as work:
            return [place for place, _ in _tagged(work, tag)]

    def erase_parts(self, tag: bytes, now: int) -> list[Place]:
        """Erase all private parts with this tag beyond recovery; return where they were."""
        with self._transactions.writing() as work:
            found = _tagged(work, tag)
            for place, log in found:
                work.run(_DELETE_KEY, (log, place.index))
                work.run(_EMPTY_PART, (now, log, place.index))
        self._scrub()
        return [place for place, _ in found]

    def _scrub(self) -> None:
        """Take what was deleted out of the files; done again by every further erasure."""
        if self._engine.dialect.name == "postgresql":
            engine = self._engine.execution_options(isolation_level="AUTOCOMMIT")
            with translated(), engine.connect() as connection:
                connection.exec_driver_sql("VACUUM tlog_part, tlog_part_key")
            return
        with translated(), closing(self._engine.raw_connection()) as raw:
            row = raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if row is None or row[0]:
            raise StorageError("erased, but a reader holds old pages of the file; erase again")


def _tagged(work: Work, tag: bytes) -> list[tuple[Place, int]]:
    rows = work.run(_TAGGED, (tag, tag)).fetchall()
    return sorted((Place(origin, index), log) for origin, index, log in rows)
