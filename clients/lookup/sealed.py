"""A sealed file of rows of one width that only grows.

    file  = magic (16 bytes) || chunk*
    chunk = rows (u32) || nonce || ciphertext of rows x width bytes, bound to its first row

Durability: `append` returns when the rows are on disk. Concurrency: appending holds a lock
on the file and checks that nobody appended in between; reading takes none. Crash: a chunk
that was cut short was never confirmed; it is not read, and the next append takes it off.
A chunk that does not open raises `SealBrokenError`. Overwriting rows replaces the file by one
whose chunks lie at the same places: readers and writers notice that it is another file.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.lookup.secrets import NONCE_SIZE, TAG_SIZE, Random, SealBrokenError, seal, unseal
from compliance.files import write_atomically

MAGIC = b"lianfang-rows-1\n"
CHUNK_ROWS = 1 << 16
_COUNT = 4
_SPARE = 8


class SealedRows:
    """Rows of `width` bytes under one key; `name` binds them to their place and use."""

    def __init__(self, path: Path, key: bytes, name: bytes, width: int, random: Random) -> None:
        self._path = path
        self._key = key
        self._name = name
        self._width = width
        self._random = random
        self._buffer = np.empty((0, width), np.uint8)
        self._count = 0
        self._offset = len(MAGIC)
        self._file = 0

    def load(self) -> NDArray[np.uint8]:
        """Return all rows, those included that other processes appended.

        Shapes:
            result: (rows, width); not to be written.
        """
        if self._path.exists():
            with self._path.open("rb") as file:
                self._read_on(file.fileno())
        return self._buffer[: self._count]

    def append(self, rows: NDArray[np.uint8], expected: int) -> bool:
        """Add rows behind the first `expected`; durable when this returns True.

        Returns:
            False if others appended first: load, and think again.
        """
        descriptor = self._locked()
        try:
            if os.fstat(descriptor).st_size < len(MAGIC):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, MAGIC)
            self._read_on(descriptor)
            if self._count != expected:
                return False
            os.ftruncate(descriptor, self._offset)
            self._write(descriptor, rows, expected)
            os.fsync(descriptor)
            self._read_on(descriptor)
        finally:
            os.close(descriptor)
        return True

    def overwrite(self, places: Sequence[int], rows: NDArray[np.uint8]) -> None:
        """Replace single rows, so that their old contents are in no file; durable on return.

        Other processes read the new rows when they next load. Rows that memory of theirs
        still holds are gone with those processes.
        """
        if not len(places) or not self._path.exists():
            return
        descriptor = self._locked()
        try:
            self._read_on(descriptor)
            self._buffer[list(places)] = rows
            draft = MAGIC + b"".join(self._chunks(descriptor))
            write_atomically(self._path, draft)
        finally:
            os.close(descriptor)
        self._file = self._path.stat().st_ino

    def _chunks(self, descriptor: int) -> Iterator[bytes]:
        """Seal all rows anew in chunks of the sizes that they have in the file."""
        at, first = len(MAGIC), 0
        while first < self._count:
            head = os.pread(descriptor, _COUNT, at)
            rows = int.from_bytes(head, "big")
            plain = self._buffer[first : first + rows].tobytes()
            yield head + seal(self._key, plain, self._bound(first), self._random)
            at += _COUNT + NONCE_SIZE + rows * self._width + TAG_SIZE
            first += rows

    def _locked(self) -> int:
        """Open the file and hold it; again if it was replaced while we waited."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        while True:
            descriptor = os.open(self._path, flags, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if self._path.exists() and os.path.samestat(os.fstat(descriptor), self._path.stat()):
                return descriptor
            os.close(descriptor)

    def _write(self, descriptor: int, rows: NDArray[np.uint8], first: int) -> None:
        for start in range(0, len(rows), CHUNK_ROWS):
            piece = rows[start : start + CHUNK_ROWS]
            sealed = seal(self._key, piece.tobytes(), self._bound(first + start), self._random)
            left = memoryview(len(piece).to_bytes(_COUNT, "big") + sealed)
            while left:
                left = left[os.write(descriptor, left) :]

    def _read_on(self, descriptor: int) -> None:
        """Read the chunks behind those known, up to the first that is not whole."""
        found = os.fstat(descriptor)
        if found.st_ino != self._file:
            # Another file than last time: some rows were overwritten, or all is new.
            self._file, self._count, self._offset = found.st_ino, 0, len(MAGIC)
        size = found.st_size
        if size <= self._offset:
            return
        if os.pread(descriptor, len(MAGIC), 0) != MAGIC:
            raise SealBrokenError(f"{self._path.name}: not a file of sealed rows; remove it")
        data = _read(descriptor, self._offset, size)
        parts: list[bytes] = []
        at, known = 0, self._count
        while len(data) - at >= _COUNT:
            rows = int.from_bytes(data[at : at + _COUNT], "big")
            end = at + _COUNT + NONCE_SIZE + rows * self._width + TAG_SIZE
            if end > len(data):
                break
            plain = unseal(
                self._key, bytes(data[at + _COUNT : end]), self._bound(known), self._path.name
            )
            parts.append(plain)
            known, at = known + rows, end
        self._keep(np.frombuffer(b"".join(parts), np.uint8).reshape(-1, self._width))
        self._offset += at

    def _keep(self, rows: NDArray[np.uint8]) -> None:
        end = self._count + len(rows)
        if end > len(self._buffer):
            # With room to grow, so that one more row does not copy a million.
            grown = np.empty((end + end // _SPARE, self._width), np.uint8)
            grown[: self._count] = self._buffer[: self._count]
            self._buffer = grown
        self._buffer[self._count : end] = rows
        self._count = end

    def _bound(self, first: int) -> bytes:
        return self._name + first.to_bytes(8, "big")


def _read(descriptor: int, start: int, end: int) -> memoryview:
    parts = bytearray()
    while start < end and (part := os.pread(descriptor, end - start, start)):
        parts += part
        start += len(part)
    return memoryview(parts)
