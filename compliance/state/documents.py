"""Documents by name, in folders: small files and large tables, replaced whole.

A document lies in parts of one MiB, so that a large one is never in memory twice over. A
folder has a counter that every change of any of its documents moves on, in the same commit.
A reader that keeps documents reads the counter first and the documents then: if the counter
is still the same later on, so are they.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby

from compliance.state.transactions import Transactions, Work

PART_SIZE = 1 << 20

_FOLDER = "SELECT id, version FROM state_folder WHERE name = ?"
_MAKE_FOLDER = "INSERT INTO state_folder (name, version) VALUES (?, 0) ON CONFLICT DO NOTHING"
_MOVE_ON = "UPDATE state_folder SET version = version + 1 WHERE id = ?"
_FROM = "FROM state_document AS d JOIN state_folder AS f ON f.id = d.folder WHERE f.name = ?"
_GET = f"SELECT d.data {_FROM} AND d.name = ? ORDER BY d.part"
_NAMES = f"SELECT d.name {_FROM} AND d.part = 0"
_ALL = f"SELECT d.name, d.data {_FROM} ORDER BY d.name, d.part"
_PUT = "INSERT INTO state_document (folder, name, part, data) VALUES (?, ?, ?, ?)"
_DELETE = "DELETE FROM state_document WHERE folder = ? AND name = ?"
_IS_THERE = "SELECT 1 FROM state_document WHERE folder = ? AND name = ? AND part = 0"


class Documents:
    """The documents of one folder; for any number of threads and processes.

    Every method is one commit of its own, or a part of the thread's transaction. All of them
    raise `StateUnavailableError` where the database fails.
    """

    def __init__(self, transactions: Transactions, folder: str) -> None:
        self._transactions = transactions
        self._folder = folder

    def get(self, name: str) -> bytes | None:
        """Return a document, or None if there is none of this name."""
        with self._transactions.reading() as work:
            return _get(work, self._folder, name)

    def put(self, name: str, data: bytes) -> None:
        """Write a document, whatever was there."""
        self._change(name, data, lambda _work, _folder: True)

    def put_new(self, name: str, data: bytes) -> bool:
        """Write a document unless there is one; tell whether it was written."""
        return self._change(
            name,
            data,
            lambda work, folder: work.run(_IS_THERE, (folder, name)).fetchone() is None,
        )

    def replace(self, name: str, old: bytes | None, new: bytes) -> bool:
        """Write a document if it is still `old`, None where there is none; tell whether it was."""
        return self._change(name, new, lambda work, _folder: _get(work, self._folder, name) == old)

    def delete(self, name: str) -> bool:
        """Delete a document; tell whether there was one."""
        with self._writing() as (work, folder):
            found: bool = work.run(_DELETE, (folder, name)).rowcount > 0
            if found:
                work.run(_MOVE_ON, (folder,))
            return found

    def names(self) -> list[str]:
        """Return the names of all documents, sorted."""
        with self._transactions.reading() as work:
            return sorted(row[0] for row in work.run(_NAMES, (self._folder,)).fetchall())

    def all(self) -> dict[str, bytes]:
        """Return all documents, as they were at one moment."""
        with self._transactions.reading() as work:
            rows = work.run(_ALL, (self._folder,)).fetchall()
        found = {
            name: b"".join(data for _, data in parts)
            for name, parts in groupby(rows, key=lambda row: row[0])
        }
        return {name: found[name] for name in sorted(found)}

    def version(self) -> int:
        """Return the counter of the folder's changes; 0 before the first."""
        with self._transactions.reading() as work:
            row = work.run(_FOLDER, (self._folder,)).fetchone()
        return 0 if row is None else int(row[1])

    def _change(self, name: str, data: bytes, is_due: Callable[[Work, int], bool]) -> bool:
        with self._writing() as (work, folder):
            if not is_due(work, folder):
                return False
            work.run(_DELETE, (folder, name))
            # An empty document has one part too: it is there.
            view = memoryview(data)
            for part, start in enumerate(range(0, len(data) or 1, PART_SIZE)):
                work.run(_PUT, (folder, name, part, bytes(view[start : start + PART_SIZE])))
            work.run(_MOVE_ON, (folder,))
            return True

    @contextmanager
    def _writing(self) -> Iterator[tuple[Work, int]]:
        """Hold the folder's row, so that one at a time changes its documents."""
        with self._transactions.writing() as work:
            query = _FOLDER + work.hold
            row = work.run(query, (self._folder,)).fetchone()
            if row is None:
                work.run(_MAKE_FOLDER, (self._folder,))
                row = work.run(query, (self._folder,)).fetchone()
            yield work, int(row[0])


def _get(work: Work, folder: str, name: str) -> bytes | None:
    rows = work.run(_GET, (folder, name)).fetchall()
    if len(rows) == 1:
        return bytes(rows[0][0])
    return b"".join(data for (data,) in rows) if rows else None
