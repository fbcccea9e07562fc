"""A shelf in the hub's database, read from memory while nothing on it has changed.

What is kept on a shelf is small, and is looked at several times for every request: who is a
partner, who is revoked, what is agreed. So all of it lies in memory, and the database is asked
for no more than a number that changes with the shelf: at most every `FRESH_S`, and at once
after a change by this process. What another process changes counts here after that time.

Where the database cannot be reached, reading fails: nothing is decided by what may be old.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from time import monotonic
from typing import Protocol

from compliance.shelf import Stamp

FRESH_S = 0.1


class Documents(Protocol):
    """One folder of documents in a database (`compliance.state`)."""

    def get(self, name: str) -> bytes | None:
        """Return a document, or None."""
        ...

    def put(self, name: str, data: bytes) -> object:
        """Keep a document, durably."""
        ...

    def put_new(self, name: str, data: bytes) -> bool:
        """Keep a document unless there is one; tell whether it was kept."""
        ...

    def replace(self, name: str, old: bytes | None, new: bytes) -> bool:
        """Keep a document if it is still the old one; tell whether it was."""
        ...

    def delete(self, name: str) -> object:
        """Remove a document, if it is there."""
        ...

    def names(self) -> Sequence[str]:
        """Return the names of all documents."""
        ...

    def all(self) -> Mapping[str, bytes]:
        """Return all documents by name."""
        ...

    def version(self) -> int:
        """Return a number that is another whenever the folder has changed."""
        ...


@dataclass(frozen=True, slots=True)
class _Read:
    """A shelf as it was read, and when that was last known to be all there is."""

    version: int
    documents: Mapping[str, bytes]
    stamps: tuple[Stamp, ...] = field(repr=False)
    sure_at: float = 0.0


class DocumentShelf:
    """The contract of `compliance.shelf` over one folder; for any number of threads."""

    def __init__(
        self,
        documents: Documents,
        *,
        fresh_s: float = FRESH_S,
        timer: Callable[[], float] = monotonic,
    ) -> None:
        self._documents = documents
        self._fresh_s = fresh_s
        self._timer = timer
        self._lock = threading.Lock()
        self._kept: _Read | None = None
        self._changes = 0  # by this process

    def get(self, name: str) -> bytes | None:
        """Return a document, or None if there is none."""
        return self._read().documents.get(name)

    def put(self, name: str, data: bytes) -> None:
        """Keep a document, in place of the one of that name if there is one."""
        try:
            self._documents.put(name, data)
        finally:
            self._doubt()

    def put_new(self, name: str, data: bytes) -> bool:
        """Keep a document unless there is one of that name; tell whether it was kept."""
        try:
            return self._documents.put_new(name, data)
        finally:
            self._doubt()

    def names(self, folder: str = "") -> Sequence[str]:
        """Return the whole names of all documents that stand directly in a folder, sorted."""
        start = f"{folder}/" if folder else ""
        found = (name for name in self._read().documents if name.startswith(start))
        return sorted(name for name in found if "/" not in name[len(start) :])

    def stamps(self) -> Sequence[Stamp]:
        """Return the stamps of all documents that stand in no folder, sorted."""
        return self._read().stamps

    def state(self) -> tuple[object, Mapping[str, bytes]]:
        """Return all documents, and a mark that is another once one of them is another."""
        kept = self._read()
        return kept.version, kept.documents

    def current(self, name: str) -> bytes | None:
        """Return a document as the database has it at this moment, for who is to replace it."""
        return self._documents.get(name)

    def replace(self, name: str, old: bytes | None, new: bytes) -> bool:
        """Replace a document if it is still what `current` returned; tell whether it was."""
        try:
            if old is None:
                return self._documents.put_new(name, new)
            return self._documents.replace(name, old, new)
        finally:
            self._doubt()

    def delete(self, name: str) -> None:
        """Remove a document, if it is there."""
        try:
            self._documents.delete(name)
        finally:
            self._doubt()

    def _doubt(self) -> None:
        """Ask the database again at the next look, whatever came of a change."""
        with self._lock:
            self._kept = None
            self._changes += 1

    def _read(self) -> _Read:
        with self._lock:
            kept, changes = self._kept, self._changes
        now = self._timer()
        if kept is not None and now - kept.sure_at < self._fresh_s:
            return kept
        # The number first: what changes after it was read is read once more at the next look.
        version = self._documents.version()
        if kept is None or kept.version != version:
            documents = dict(self._documents.all())
            kept = _Read(version, documents, _stamps(documents), now)
        else:
            kept = _Read(version, kept.documents, kept.stamps, now)
        with self._lock:
            if changes == self._changes:  # else this process has changed it meanwhile
                self._kept = kept
        return kept


def _stamps(documents: Mapping[str, bytes]) -> tuple[Stamp, ...]:
    return tuple(
        (name, sha256(data).hexdigest())
        for name, data in sorted(documents.items())
        if "/" not in name
    )
