"""Entries that stand in the log once, however often the act is asked for again.

An act is known by a text of its own, which stands in the private part of its entry, by who
acts, by its name, and by its outcome. Whoever repeats it finds the entry there: in memory if
this process wrote it a moment ago, in the storage otherwise. A process that was killed between
entry and answer therefore leaves one entry, and the repetition adds none. Once a private part
is erased its entry can no longer be found, and the same act would be entered anew.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from compliance.log.errors import EntryPrunedError
from compliance.log.private import PrivateParts
from compliance.log.storage import Place, Storage
from protocols.tlog.entry import Entry, Outcome

Key = tuple[str, str, str, Outcome]  # the text, the organisation that acts, the act, the outcome
_REMEMBERED = 10_000


class Once:
    """Finds entries by their act; for any number of threads of one process."""

    def __init__(self, storage: Storage, parts: PrivateParts) -> None:
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
            found = self._find(key, is_new=is_new)
            if found is None:
                found = append()
                self._remember(key, found)
            return found

    def _find(self, key: Key, *, is_new: bool) -> Place | None:
        with self._lock:
            known = self._recent.get(key)
        if known is not None or is_new:
            return known
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
