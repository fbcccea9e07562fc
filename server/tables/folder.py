"""One contributor's tables of one epoch on disk, and which version is in force.

    <epoch>/<contributor>/current              the number of the version in force
    <epoch>/<contributor>/<version>.table      records, the last two versions
    .../<version>.digests, .filter             of the last two versions
    .../<version>.header, .delta               of the last thirty versions
    <epoch>/<contributor>/lock                 held while a version is published

Durability: a version's files are on disk before `current` names it, and `current` is
replaced as a whole; a process that is killed at any moment leaves the former version in
force or the new one. Concurrency: one publisher at a time, by a lock on a file; readers
take none, since no file in force is ever changed. Whatever lies behind `current` is a
leftover and is served to nobody.

Where several workers have directories of their own, the database has all of this, and says
which version is in force (`server.tables.stock`). The files are then copies: of versions that
are in force, or were, fetched when they are first asked for. What is drafted there has no name
among them until it is in force, so that no leftover is ever taken for another's version.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import re
import secrets
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from compliance.files import DIRECTORY_MODE, FILE_MODE, write_atomically
from protocols.lookup.header import SignedHeader
from server.tables.errors import NotKeptError
from server.tables.stock import PIECE_SIZE, Stock

if TYPE_CHECKING:
    from typing_extensions import Buffer  # in collections.abc from Python 3.12 on

KEPT_TABLES = 2
KEPT_DELTAS = 30
# Maps of more bytes are given back piece by piece while they are read.
_LARGE = 64 << 20
_RELIEVE_EVERY_S = 0.02
_NUMBERED = re.compile(r"([1-9][0-9]{0,18})\.[a-z]+")


class Part(StrEnum):
    """What is kept of a version; the value is the file's ending."""

    TABLE = "table"
    DIGESTS = "digests"
    FILTER = "filter"
    HEADER = "header"
    DELTA = "delta"


_BULKY = (Part.TABLE, Part.DIGESTS, Part.FILTER)


@dataclass(frozen=True, slots=True)
class Folder:
    """The directory of one contributor in one epoch; the names in the path are checked.

    Args:
        stock: the table in the database; None where the files are all there is.
    """

    path: Path
    stock: Stock | None = None

    def current(self) -> int:
        """Return the version in force, 0 if none was ever published."""
        if self.stock is not None:
            return self.stock.current()
        try:
            return int((self.path / "current").read_bytes())
        except FileNotFoundError:
            return 0

    def file(self, version: int, part: Part) -> Path:
        """Return where a part of a version lies, if it is kept."""
        return self.path / f"{version}.{part}"

    def here(self, version: int, part: Part) -> Path:
        """Return where a part of a version in force lies, fetched if it is not here yet.

        Raises:
            FileNotFoundError: the database has it no longer.
        """
        path = self.file(version, part)
        if self.stock is not None and not path.exists():
            self.path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
            with self.drafted(self.stock.fetch(version, part)) as draft:
                draft.replace(path)
            self._tidy_files(lambda number, kind: number > version or self._keeps(number, kind))
        return path

    def read(self, version: int, part: Part) -> bytes:
        """Return a small part of a version.

        Raises:
            NotKeptError: there is no such version, or it is no longer kept.
        """
        self._require(version)
        try:
            return self.here(version, part).read_bytes()
        except FileNotFoundError as error:
            raise NotKeptError(f"table version {version}: {part} not kept") from error

    def header(self, version: int) -> SignedHeader:
        """Return the header of a version.

        Raises:
            NotKeptError: there is no such version, or it is no longer kept.
        """
        return SignedHeader.decode(self.read(version, Part.HEADER))

    @contextmanager
    def mapped(self, version: int) -> Iterator[Buffer]:
        """Give the records of a version as a map of the file, for the time of the block.

        Raises:
            NotKeptError: there is no such version, or it is no longer kept.
        """
        self._require(version)
        try:
            with mapped_file(self.here(version, Part.TABLE)) as data:
                yield data
        except FileNotFoundError as error:
            raise NotKeptError(f"table version {version}: not kept") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder alone among publishers; a killed process frees it."""
        self.path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        # Opened anew by everyone, so that threads exclude each other too.
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with nullcontext() if self.stock is None else self.stock.alone():
                yield
        finally:
            os.close(descriptor)

    @contextmanager
    def drafted(self, chunks: Iterable[Buffer]) -> Iterator[Path]:
        """Write a draft from pieces, durably; what the block leaves of it is removed."""
        draft = self.path / f".draft-{secrets.token_hex(8)}"
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
            with os.fdopen(descriptor, "wb") as file:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            yield draft
        finally:
            draft.unlink(missing_ok=True)

    def put(self, version: int, part: Part, data: bytes) -> None:
        """Write a small part of a version that is not in force."""
        write_atomically(self.file(version, part), data)

    @contextmanager
    def staging(self) -> Iterator[Folder]:
        """Give where the next version is written: beside the others, or out of their sight."""
        if self.stock is None:
            yield self
            return
        place = self.path / f".draft-{secrets.token_hex(8)}"
        place.mkdir(mode=DIRECTORY_MODE)
        try:
            yield Folder(place)
        finally:
            shutil.rmtree(place)

    def put_in_force(self, version: int, staged: Folder) -> None:
        """Name the version in force; everything of it was written before."""
        _sync(staged.path)  # the renamed drafts are durable with their directory only
        if self.stock is None:
            write_atomically(self.path / "current", str(version).encode())
            return
        sizes = {
            str(part): self.stock.keep(version, part, _pieces(staged.file(version, part)))
            for part in Part
        }
        self.stock.put_in_force(version, sizes)
        for part in Part:
            staged.file(version, part).replace(self.file(version, part))

    def tidy(self) -> None:
        """Remove drafts, leftovers, and what is older than is kept; only while locked."""
        for draft in self.path.glob(".*"):
            if draft.is_dir():
                shutil.rmtree(draft)
            else:
                draft.unlink(missing_ok=True)
        self._tidy_files(self._keeps)
        if self.stock is not None:
            current = self.current()
            self.stock.tidy(lambda number, kind: _is_kept(number, kind, current))

    def _tidy_files(self, is_kept: Callable[[int, str], bool]) -> None:
        for path in self.path.iterdir():
            found = _NUMBERED.fullmatch(path.name)
            if found and not is_kept(int(found[1]), path.suffix.removeprefix(".")):
                path.unlink(missing_ok=True)

    def _keeps(self, version: int, kind: str) -> bool:
        return _is_kept(version, kind, self.current())

    def _require(self, version: int) -> None:
        if not 1 <= version <= self.current():
            raise NotKeptError(f"table version {version}: not in force yet, or never")


def _is_kept(version: int, kind: str, current: int) -> bool:
    kept = KEPT_TABLES if kind in _BULKY else KEPT_DELTAS
    return current - kept < version <= current


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_SIZE):
            yield piece


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def mapped_file(path: Path) -> Iterator[Buffer]:
    """Give a file's contents without reading it into memory; an empty file cannot be mapped."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            yield b""
            return
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        with _relieved(data) if size > _LARGE else nullcontext():
            yield data
    finally:
        # After an error a view may live on in the traceback; the map then goes with it.
        with suppress(BufferError):
            data.close()


@contextmanager
def _relieved(data: mmap.mmap) -> Iterator[None]:
    """Give the pages of a map back again and again while it is read from front to back.

    The kernel would leave every page that was touched with this process until another one
    wants memory, so that reading ten million records once would look like a gigabyte. A
    page that is needed again comes back from the file's cache.
    """
    done = threading.Event()

    def give_back() -> None:
        while not done.wait(_RELIEVE_EVERY_S):
            data.madvise(mmap.MADV_DONTNEED)

    thread = threading.Thread(target=give_back, name="table-map", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
