"""Entries that stand in the log once, however often the act is asked for again.

An act is known by a text of its own, which stands in the private part of its entry, by who
acts, by its name, and by its outcome. Whoever repeats it finds the entry there: in memory if
this process wrote it a moment ago, in the storage otherwise. A process that was killed between
entry and answer therefore leaves one entry, and the repetition adds none. Where several
processes may be asked for the same act at once, they take turns by a lock of the act's own.
Once a private part is erased its entry can no longer be found, and the same act would be
entered anew.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from hashlib import sha256

from compliance.log.errors import EntryPrunedError
from compliance.log.private import PrivateParts
from compliance.log.storage import Place, Storage
from protocols.tlog.entry import Entry, Outcome

Alone = Callable[[str], AbstractContextManager[object]]
Key = tuple[str, str, str, Outcome]  # the text, the organisation that acts, the act, the outcome
_REMEMBERED = 10_000


class Once:
    """Finds entries by their act; for any number of threads.

    Args:
        alone: keeps other processes from a name for the time of a block; None where this one
            alone is asked for acts.
    """

    def __init__(self, storage: Storage, parts: PrivateParts, alone: Alone | None = None) -> None:
        self._alone_everywhere = alone
        self._storage = storage
        self._parts = parts
        self._lock = threading.Lock()
        self._recent: OrderedDict[Key, Place] = OrderedDict()
        self._turns: dict[Key, tuple[threading.Lock, int]] = {}

    def place(self, key: Key, append: Callable[[], Place], *, is_new: bool) -> Place:
        """Return where the entry of an act stands; appended if it does not yet.

        Args:
            is_new: nobody can have entered it but another thread of this process, just now.
        """
        with self._alone(key):
            with self._lock:
                found = self._recent.get(key)
            if found is None:
                found = self._entered(key, append, is_new=is_new)
                self._remember(key, found)
            return found

    def _entered(self, key: Key, append: Callable[[], Place], *, is_new: bool) -> Place:
        if self._alone_everywhere is None:
            return (None if is_new else self._find(key)) or append()
        # However new it is here: another process may have been asked for it too, just now.
        with self._alone_everywhere(_name_of(key)):
            return self._find(key) or append()

    def _find(self, key: Key) -> Place | None:
        subject, *rest = key
        for place in self._parts.find_subject(subject):
            try:
                (data,) = self._storage.entries(place.origin, place.index, place.index + 1)
            except EntryPrunedError:
                continue
            entry = Entry.decode(data)
            if [entry.organisation, entry.act, entry.outcome] == rest:
                return place
        return None

    def _remember(self, key: Key, place: Place) -> None:
        with self._lock:
            self._recent[key] = place
            while len(self._recent) > _REMEMBERED:
                self._recent.popitem(last=False)

    @contextmanager
    def _alone(self, key: Key) -> Iterator[None]:
        """Let one thread at a time look for an act and enter it."""
        with self._lock:
            turn, waiting = self._turns.get(key, (threading.Lock(), 0))
            self._turns[key] = (turn, waiting + 1)
        try:
            with turn:
                yield
        finally:
            with self._lock:
                _, waiting = self._turns.pop(key)
                if waiting > 1:
                    self._turns[key] = (turn, waiting - 1)


def _name_of(key: Key) -> str:
    """Name an act for a lock: its text must not stand in another place than the private part."""
    return f"once/{sha256(repr(key).encode()).hexdigest()}"
