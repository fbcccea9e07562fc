"""The list of witnesses as its file has it, followed while the hub is served.

Another process may list or remove a witness: the next checkpoint goes by the new list. A file
that has become unusable, or is gone, changes nothing here but a line in the operation log: the
log is not published unwitnessed because of a mistake.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from compliance.configuration import ConfigError
from server.log.witnesses import Witnesses

_log = logging.getLogger("lianfang.log")


class Listing:
    """The witnesses in one file; for any number of threads.

    Raises:
        ConfigError: there is a file, and it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._found = None if self._stamp is None else Witnesses.load(path)

    def __call__(self) -> Witnesses | None:
        """Return the list as it is; None where none has been written yet."""
        with self._lock:
            stamp = self._look()
            if stamp != self._stamp:
                self._stamp = stamp
                self._take_up()
            return self._found

    def _take_up(self) -> None:
        try:
            self._found = Witnesses.load(self._path)
        except ConfigError as error:
            _log.error("the witnesses stay as they were: %s", error)
            return
        count = len(self._found.listed)
        _log.warning("the list of witnesses changed: %d of %d cosign", self._found.quorum, count)

    def _look(self) -> object:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns
