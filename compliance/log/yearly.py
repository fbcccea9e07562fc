"""One log a year: the origin is `<prefix>/<year>`, in the calendar of UTC.

Retention goes by whole years, so what is past it ends with a log's end. Every entry goes to
the log of the year in which it is appended; around midnight, processes whose clocks differ may
append to both, and both are checkpointed. The log of a year is opened when it is needed.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from compliance.clock import Clock
from compliance.log.log import Log
from compliance.log.storage import Place, SealedPart, Storage
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.entry import Entry
from protocols.tlog.note import Note, Signer

_YEAR = re.compile(r"[1-9][0-9]{3}", re.ASCII)


class YearlyLog:
    """The logs of all years of one operator.

    Args:
        prefix: the origin without the year, such as `hub.example/audit`.
        open_log: opens the log of an origin.
    """

    def __init__(
        self, storage: Storage, prefix: str, clock: Clock, open_log: Callable[[str], Log]
    ) -> None:
        self._storage = storage
        self._prefix = prefix
        self._clock = clock
        self._open_log = open_log
        self._logs: dict[str, Log] = {}
        self._lock = threading.Lock()

    def append(self, entry: Entry, part: SealedPart | None = None) -> Place:
        """Append to the log of the present year; return where, when it is durable.

        Raises: as `Log.append`, and as opening a log when the year is new.
        """
        log = self.log(self.origin())
        return Place(log.origin, log.append(entry, part))

    def checkpoint(self) -> list[Note]:
        """Publish the present year's log, and each earlier one that has unpublished entries.

        Raises: as `Log.checkpoint`.
        """
        due = [origin for origin in self.origins() if self._is_due(origin)]
        return [self.log(origin).checkpoint() for origin in due]

    def origin(self) -> str:
        """Return the origin of the present year."""
        year = datetime.fromtimestamp(self._clock.now(), UTC).year
        return f"{self._prefix}/{year:04}"

    def origins(self) -> list[str]:
        """Return the origins of all years that there are, the present one included, in order."""
        start = f"{self._prefix}/"
        found = {origin for origin in self._storage.origins() if origin.startswith(start)}
        years = {origin for origin in found if _YEAR.fullmatch(origin.removeprefix(start))}
        return sorted(years | {self.origin()})

    def log(self, origin: str) -> Log:
        """Return the log of an origin, opened once."""
        with self._lock:
            if origin not in self._logs:
                self._logs[origin] = self._open_log(origin)
            return self._logs[origin]

    def _is_due(self, origin: str) -> bool:
        if origin == self.origin():
            return True
        data = self._storage.checkpoint(origin)
        published = Checkpoint.parse(Note.decode(data).text).size if data else 0
        return self._storage.edge(origin).size > published


def signer_of(origin: str, key: Signer) -> Signer:
    """Return the log's key under the name of one origin, as witnesses and policies know it."""
    return Signer(origin, key.kind, key.private)
