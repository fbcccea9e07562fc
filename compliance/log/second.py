"""The second place of the last checkpoint: where a log's own storage cannot rewrite history.

It holds, for every log, the checkpoint that was signed last. Put it on another disk, or into
another system, than the storage: whoever puts back an old copy of one has not put back the
other, and the log refuses to go on.

Durability: `swap` returns when the new checkpoint is on disk. Concurrency: of several swaps
from the same checkpoint one succeeds; the others are told.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from compliance.files import DIRECTORY_MODE, FILE_MODE, write_atomically
from compliance.log.errors import StorageError

_LOCK = ".lock"


class CheckpointStore(Protocol):
    """Keeps the last signed checkpoint of each log."""

    def load(self, origin: str) -> bytes | None:
        """Return the checkpoint, or None if there never was one.

        Raises:
            StorageError: it cannot be read.
        """
        ...

    def swap(self, origin: str, old: bytes | None, new: bytes) -> bool:
        """Replace the checkpoint if it is still `old`; tell whether it was.

        Raises:
            StorageError: it is open which of the two is there.
        """
        ...


class FileCheckpoints:
    """One file a log in a directory of its own, swapped under a lock of the directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._threads = threading.Lock()
        directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)

    def load(self, origin: str) -> bytes | None:
        """Return the checkpoint, or None if there never was one."""
        try:
            return self._path(origin).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError("second place: the checkpoint cannot be read") from error

    def swap(self, origin: str, old: bytes | None, new: bytes) -> bool:
        """Replace the checkpoint if it is still `old`; tell whether it was."""
        with self._held():
            if self.load(origin) != old:
                return False
            try:
                write_atomically(self._path(origin), new)
            except OSError as error:
                raise StorageError("second place: the checkpoint cannot be written") from error
            return True

    @contextmanager
    def _held(self) -> Iterator[None]:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        # flock binds to the open file: every swap opens its own, and a killed one frees it.
        with self._threads:
            try:
                lock = os.open(self._directory / _LOCK, flags, FILE_MODE)
            except OSError as error:
                raise StorageError("second place: the directory cannot be locked") from error
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
            finally:
                os.close(lock)

    def _path(self, origin: str) -> Path:
        return self._directory / f"{quote(origin, safe='')}.checkpoint"
