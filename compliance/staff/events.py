"""A file of events from which a register is read again each time, shared by processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compliance.errors import LogCorruptError
from compliance.files import DIRECTORY_MODE
from compliance.journal import Journal
from protocols.errors import MalformedMessageError
from protocols.jcs import decode_jcs, encode_jcs

Event = dict[str, Any]
Append = Callable[[Event], None]


class Events:
    """One journal of JSON objects (see `compliance.journal` for what it withstands).

    It is opened for every use, so that an object may be kept over a fork and by many threads.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def exclusive(self) -> Iterator[tuple[list[Event], Append]]:
        """Hold the file alone: gives all events, and what appends one durably.

        Raises:
            LogCorruptError: the file is damaged; nothing in it counts until it is restored.
        """
        self._path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        journal = Journal(self._path)
        try:
            with journal.exclusive() as records:
                yield self._decode(records), lambda event: journal.append(encode_jcs(event))
        finally:
            journal.close()

    def all(self) -> list[Event]:
        """Return all events; where there is no file there are none, and none is made."""
        if not self._path.exists():
            return []
        with self.exclusive() as (events, _):
            return events

    def _decode(self, records: list[bytes]) -> list[Event]:
        try:
            found = [decode_jcs(record, self._path.name) for record in records]
        except MalformedMessageError as error:
            raise LogCorruptError(f"{error}; restore it from a backup") from error
        if not all(isinstance(event, dict) for event in found):
            raise LogCorruptError(f"{self._path.name}: holds no event; restore it from a backup")
        return found
