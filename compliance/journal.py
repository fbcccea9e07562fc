"""An append-only file of records that several processes write.

Durability: `append` returns when the record and the chain over all records before it are on
disk (fsync), so what it confirmed survives a power cut. Order: records are read in the one
order in which they were appended, by every process. Concurrency: `exclusive` holds a lock
on the file (flock) over reading what others appended and appending our own, so a decision
made in between is made on everything there is; a killed process frees the lock. Crash: a
frame that was cut short was never confirmed and is taken off; damage anywhere else raises
`LogCorruptError`, after which the file must not be written.

A file that was cut at a frame's end, or put back from an old copy, cannot be told here: the
owner's transparency log is what shows that. Open a journal after a fork, never before.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from compliance.errors import LogCorruptError
from compliance.frames import MAGIC, Position, encode_frame, read_frame


class Journal:
    """One journal file, opened for appending."""

    def __init__(self, path: Path) -> None:
        self._path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)
        self._at = Position()
        self._held = False
        self._broken = False
        self._threads = threading.Lock()
        with self._locked():
            self._start()

    def close(self) -> None:
        """Give the file back; the lock with it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    @contextmanager
    def exclusive(self) -> Iterator[list[bytes]]:
        """Hold the file alone; gives the records that this object has not seen yet.

        Raises:
            LogCorruptError: the file is damaged; nothing may be appended any more.
        """
        with self._locked():
            yield self._catch_up()

    def append(self, record: bytes) -> None:
        """Write a record durably; only inside `exclusive`, after its records were read.

        A failure leaves it open whether the record is there: this object then refuses all
        further work, and the next to open the file finds out.
        """
        self.append_all((record,))

    def append_all(self, records: Sequence[bytes]) -> None:
        """Write records durably, in this order, with one fsync; as `append`.

        A crash meanwhile may leave the first of them without the others.
        """
        if not self._held or self._broken:
            raise RuntimeError("journal: append outside of exclusive, or after a failure")
        at, frames = replace(self._at), bytearray()
        for record in records:
            frame = encode_frame(record, at)
            if read_frame(frame, 0, at) is None:
                raise LogCorruptError("journal: own frame cannot be read")
            frames += frame
        self._broken = True
        left = memoryview(frames)
        while left:
            left = left[os.write(self._file, left) :]
        os.fsync(self._file)
        self._at, self._broken = at, False

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # flock binds to the open file, so threads of one object need a lock of their own.
        with self._threads:
            if self._broken or self._file < 0:
                raise RuntimeError("journal: closed, or a write failed; open the file again")
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._held = True
            try:
                yield
            finally:
                self._held = False
                if self._file >= 0:  # who found damage may have closed the file already
                    fcntl.flock(self._file, fcntl.LOCK_UN)

    def _start(self) -> None:
        head = os.pread(self._file, len(MAGIC), 0)
        if head == MAGIC:
            return
        whole = os.fstat(self._file).st_size
        if whole > len(MAGIC) or not (MAGIC.startswith(head) or not any(head)):
            raise LogCorruptError("journal: not a journal file")
        # Empty, or the very first write was cut short before anything was confirmed.
        os.ftruncate(self._file, 0)
        written = 0
        while written < len(MAGIC):  # a full disk may take a part of it
            written += os.write(self._file, MAGIC[written:])
        os.fsync(self._file)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # a new name is durable with its directory only
        finally:
            os.close(folder)

    def _catch_up(self) -> list[bytes]:
        size = os.fstat(self._file).st_size
        if size < self._at.offset:
            raise LogCorruptError("journal: shorter than what was read before")
        data = self._read(self._at.offset, size)
        records: list[bytes] = []
        start, base = 0, self._at.offset
        while start < len(data):
            record = read_frame(data, start, self._at)
            if record is None:
                # We hold the lock, so no one is still writing this frame.
                os.ftruncate(self._file, self._at.offset)
                os.fsync(self._file)
                break
            records.append(record)
            start = self._at.offset - base
        return records

    def _read(self, start: int, end: int) -> bytes:
        parts: list[bytes] = []
        while start < end:
            part = os.pread(self._file, end - start, start)
            if not part:
                raise LogCorruptError("journal: shrank while it was read")
            parts.append(part)
            start += len(part)
        return b"".join(parts)
