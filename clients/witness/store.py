"""What a witness has cosigned: of every log the latest checkpoint, and the sizes before.

Durability: what `Turn.store` wrote is on disk when the block of `turn` has ended without an
error, and only then may a cosignature leave. A crash inside the block leaves nothing of it.

Concurrency: one turn at a time, over threads and processes: whoever reads the latest
checkpoint in a turn, and stores the next one, has seen everything that was cosigned before.

A second root at a size that was cosigned can never be stored: the table has one row a size.
Of the sizes before the latest some thousands are kept, so that an old checkpoint shown again
can be told from one that contradicts it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clients.node.files import exclusive, make_private_directory
from compliance.errors import LogCorruptError
from compliance.log.errors import StorageError
from protocols.errors import MalformedMessageError
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.note import Note
from protocols.tlog.witness import Head

STATE = "state.sqlite"
KEPT = 20_000
_LOCK_TIMEOUT_S = 30.0
_TABLE = """
CREATE TABLE IF NOT EXISTS cosigned (
    origin TEXT NOT NULL, size INTEGER NOT NULL, root BLOB NOT NULL,
    note BLOB NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (origin, size)
) STRICT, WITHOUT ROWID
"""
_SELECT = "SELECT origin, size, root, note, at FROM cosigned"
_STORE = """
INSERT INTO cosigned VALUES (?, ?, ?, ?, ?) ON CONFLICT (origin, size)
DO UPDATE SET note = excluded.note, at = excluded.at WHERE root = excluded.root
"""
_FORGET = """
DELETE FROM cosigned WHERE origin = ?1 AND size < (
    SELECT size FROM cosigned WHERE origin = ?1 ORDER BY size DESC LIMIT 1 OFFSET ?2
)
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """A checkpoint that was cosigned, signed by its log; `at` is when, in Unix seconds."""

    checkpoint: Checkpoint
    note: bytes
    at: int

    @property
    def head(self) -> Head:
        """Return it as the rules take it."""
        return Head(self.checkpoint.size, self.checkpoint.root)


class Turn:
    """The right to cosign, until the block of `WitnessStore.turn` ends."""

    def __init__(self, connection: sqlite3.Connection, kept: int) -> None:
        self._connection = connection
        self._kept = kept

    def latest(self, origin: str) -> Seen | None:
        """Return what was last cosigned of a log, or None if nothing was."""
        return _one(
            self._connection, f"{_SELECT} WHERE origin = ? ORDER BY size DESC LIMIT 1", (origin,)
        )

    def store(self, seen: Seen) -> None:
        """Take down what is about to be cosigned.

        Raises:
            LogCorruptError: another root was cosigned at this size.
        """
        checkpoint = seen.checkpoint
        row = (checkpoint.origin, checkpoint.size, checkpoint.root, seen.note, seen.at)
        if self._connection.execute(_STORE, row).rowcount != 1:
            raise LogCorruptError(f"witness: another root was cosigned at size {checkpoint.size}")
        self._connection.execute(_FORGET, (checkpoint.origin, self._kept))


class WitnessStore:
    """The state of one witness in one file; for any number of threads and processes.

    Args:
        kept: how many sizes of each log before its latest are kept.
    """

    def __init__(self, folder: Path, *, kept: int = KEPT) -> None:
        make_private_directory(folder)
        self._kept = kept
        self._threads = threading.Lock()
        # Two processes that switch a new file to WAL at once fail; the folder's lock spares it.
        with exclusive(folder), _translated():
            self._connection = sqlite3.connect(
                folder / STATE,
                timeout=_LOCK_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
            )
            (folder / STATE).chmod(0o600)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute(_TABLE)

    def close(self) -> None:
        """Give the file back."""
        with self._threads:
            self._connection.close()

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """Wait for the turn; what is stored in the block is durable once it has ended.

        Raises:
            StorageError: nothing is known to be stored; let no cosignature leave.
        """
        with self._threads, _translated():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield Turn(self._connection, self._kept)
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def latest(self, origin: str) -> Seen | None:
        """Return what was last cosigned of a log, or None if nothing was."""
        with self._threads, _translated():
            return Turn(self._connection, self._kept).latest(origin)

    def at_size(self, origin: str, size: int) -> Seen | None:
        """Return what was cosigned of a log at a size, as far as it is kept."""
        with self._threads, _translated():
            return _one(
                self._connection, f"{_SELECT} WHERE origin = ? AND size = ?", (origin, size)
            )

    def all_latest(self) -> list[Seen]:
        """Return what was last cosigned of every log, by origin."""
        with self._threads, _translated():
            rows = self._connection.execute("SELECT DISTINCT origin FROM cosigned ORDER BY origin")
            found = [
                Turn(self._connection, self._kept).latest(origin) for (origin,) in rows.fetchall()
            ]
        return [seen for seen in found if seen is not None]


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StorageError(f"state of the witness: {type(error).__name__}") from error


def _one(connection: sqlite3.Connection, query: str, values: tuple[str | int, ...]) -> Seen | None:
    row = connection.execute(query, values).fetchone()
    if row is None:
        return None
    origin, size, root, note, at = row
    try:
        checkpoint = Checkpoint.parse(Note.decode(note).text)
    except MalformedMessageError as error:
        raise LogCorruptError("state of the witness: a note is damaged") from error
    # A damaged row must not pass for an earlier state, from which a fork could be cosigned.
    if (checkpoint.origin, checkpoint.size, checkpoint.root) != (origin, size, root):
        raise LogCorruptError("state of the witness: a note is not that of its row")
    return Seen(checkpoint, note, at)
