"""A journal in a database: the records of one name, chained, appended one after the other.

    chain of record n = SHA-256(chain of n - 1 || length (u32) || n (u64) || record)
    before the first  = SHA-256("lianfang-state-journal-v1\n" || name)

The row of the journal has the number of its records and the last chain: what was altered,
taken out or put in is told by them. `exclusive` holds that row, so that one process at a time
reads and appends. Durability, order and use are those of `compliance.records`.

Outside of a transaction every `append` is a commit of its own, after which the row is free:
another `append` of the same block takes it anew, and is refused if others came in between.
What has to be there together goes into one `StateDatabase.transaction`.
"""

from __future__ import annotations

import hashlib
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from compliance.errors import LogConflictError, LogCorruptError
from compliance.frames import MAX_RECORD
from compliance.state.engine import LOCK_TIMEOUT_S
from compliance.state.errors import StateUnavailableError
from compliance.state.transactions import Transactions, Work

_MAGIC = b"lianfang-state-journal-v1\n"
_HEADER = struct.Struct(">IQ")

_ROW = "SELECT id, size, chain FROM state_journal WHERE name = ?"
_MAKE = "INSERT INTO state_journal (name, size, chain) VALUES (?, 0, ?) ON CONFLICT DO NOTHING"
_READ = (
    "SELECT data FROM state_record WHERE journal = ? AND place >= ? AND place < ? ORDER BY place"
)
_ADD = "INSERT INTO state_record (journal, place, data) VALUES (?, ?, ?)"
_MOVE_ON = "UPDATE state_journal SET size = ?, chain = ? WHERE id = ?"


class DatabaseJournal:
    """One journal, for any number of threads; other processes may have the same one open."""

    def __init__(
        self,
        transactions: Transactions,
        name: str,
        *,
        forget: Callable[[], None] | None = None,
    ) -> None:
        self._transactions = transactions
        self._name = name
        self._forget = forget
        self._start = hashlib.sha256(_MAGIC + name.encode()).digest()
        self._size, self._chain = 0, self._start
        self._work: Work | None = None  # of the thread that is inside `exclusive`
        self._row = 0
        self._is_undone = False
        self._is_closed = False
        # The thread of a transaction may come in again before it ends.
        self._threads = threading.RLock()

    def close(self) -> None:
        """Refuse further work; there is nothing to give back."""
        self._is_closed = True

    @contextmanager
    def exclusive(self) -> Iterator[list[bytes]]:
        """Hold the journal alone; gives the records that this object has not given yet.

        Raises:
            LogCorruptError: the journal is damaged; nothing may be appended any more.
            StateUnavailableError: the database failed, or a transaction was undone that had
                an `append` in it and nobody can drop what was learned from that.
        """
        with self._transactions.holding() as work, self._held(work):
            self._begin_again()
            records = self._catch_up(work)
            self._work = work
            try:
                yield records
            finally:
                self._work = None

    def append(self, record: bytes) -> None:
        """Write a record; only inside `exclusive`, after its records were read.

        Raises:
            ValueError: it is empty or longer than 1 MiB.
            LogConflictError: the second record of a block, and others appended in between.
            StateUnavailableError: it is open whether the record is there; if it is, the next
                `exclusive` gives it.
        """
        self.append_all((record,))

    def append_all(self, records: Sequence[bytes]) -> None:
        """Write records, in this order and in one commit: all of them are there, or none."""
        work = self._work
        if work is None or not work.is_ours or self._is_closed:
            raise RuntimeError("journal: append outside of exclusive, or closed")
        size, chain = self._size, self._chain
        rows: list[tuple[int, bytes]] = []
        for record in records:
            if not 1 <= len(record) <= MAX_RECORD:
                raise ValueError(f"record: {len(record)} bytes, expected 1 to {MAX_RECORD}")
            rows.append((size, record))
            size, chain = size + 1, _next(chain, size, record)
        if not work.is_begun:
            self._take_again(work)
        work.run_each(_ADD, [(self._row, *row) for row in rows])
        work.run(_MOVE_ON, (size, chain, self._row))
        if work.is_grouped:
            work.on_undone(self._undo)
        else:
            work.commit()
        self._size, self._chain = size, chain

    @contextmanager
    def _held(self, work: Work) -> Iterator[None]:
        """Keep other threads out, for as long as the database may still undo what is done."""
        # Whoever holds it holds the database too, so the wait is a short one.
        if not self._threads.acquire(timeout=LOCK_TIMEOUT_S):
            raise StateUnavailableError("journal: another thread holds it and does not end")
        try:
            if self._work is not None or self._is_closed:
                raise RuntimeError("journal: closed, or held already by this thread")
            yield
        finally:
            if work.is_grouped:
                work.on_end(self._threads.release)
            else:
                self._threads.release()

    def _begin_again(self) -> None:
        """After an undone transaction: forget all that was given, and give it once more."""
        if not self._is_undone:
            return
        if self._forget is None:
            raise StateUnavailableError("journal: an append was undone; open the journal again")
        self._forget()
        self._size, self._chain, self._is_undone = 0, self._start, False

    def _catch_up(self, work: Work) -> list[bytes]:
        size, chain = self._take(work)
        if size == self._size and chain == self._chain:
            return []
        if size < self._size:
            raise LogCorruptError(f"journal: {size} records where {self._size} were")
        rows = work.run(_READ, (self._row, self._size, size)).fetchall()
        records = [bytes(data) for (data,) in rows]
        if len(records) != size - self._size:
            raise LogCorruptError(f"journal: a record of {self._size} to {size - 1} is missing")
        found = self._chain
        for place, record in enumerate(records, start=self._size):
            found = _next(found, place, record)
        if found != chain:
            raise LogCorruptError(f"journal: records {self._size} to {size - 1} were altered")
        self._size, self._chain = size, chain
        return records

    def _take(self, work: Work) -> tuple[int, bytes]:
        """Take the journal's row; made where there is none."""
        query = _ROW + work.hold
        row = work.run(query, (self._name,)).fetchone()
        if row is None:
            work.run(_MAKE, (self._name, self._start))
            row = work.run(query, (self._name,)).fetchone()
        self._row = int(row[0])
        return int(row[1]), bytes(row[2])

    def _take_again(self, work: Work) -> None:
        if self._take(work) != (self._size, self._chain):
            raise LogConflictError(
                "journal: others appended within the block; put it into one transaction",
                known_size=self._size,
            )

    def _undo(self) -> None:
        self._is_undone = True


def _next(chain: bytes, place: int, record: bytes) -> bytes:
    return hashlib.sha256(chain + _HEADER.pack(len(record), place) + record).digest()
