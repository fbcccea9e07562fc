"""Reading the files of a directory while programs write them; see `content` for the order."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from compliance.backup.content import Way, content_of
from compliance.backup.manifest import Part
from compliance.backup.records import PIECE, Sink, write_part
from compliance.files import DIRECTORY_MODE, FILE_MODE

WORK = ".backup-"
# Files up to this size are read at once, and again until none of them changes meanwhile.
_SMALL = 1 << 22
_ROUNDS = 4

Progress = Callable[[int, int], None]
OnDatabase = Callable[[Path], None]


def copy_files(
    root: Path,
    sink: Sink,
    *,
    on_database: OnDatabase,
    copy_tables: Callable[[], list[Part]],
    progress: Progress,
) -> list[Part]:
    """Write all files of a directory; return what the manifest says of them.

    Args:
        on_database: is shown the copy of every SQLite database, while it lies there.
        copy_tables: writes the tables of a database server, where there is one: after the
            databases and before the journals, as `content` says.

    Raises:
        OSError: a file cannot be read, or there is no room for the copy of a database.
    """
    found = content_of(root)
    whole = sum(_size(root / name) for _, name in found)
    parts: list[Part] = []

    def put(name: str, pieces: Iterator[bytes] | list[bytes], mode: int) -> None:
        parts.append(write_part(sink, name, pieces, mode))
        progress(sum(part.size for part in parts), whole)

    for name, (data, mode) in _steady(root, [name for way, name in found if way is Way.SECOND]):
        put(name, [data], mode)
    plain = [name for way, name in found if way is Way.PLAIN]
    small = [name for name in plain if _size(root / name) <= _SMALL]
    for name, (data, mode) in _steady(root, small):
        put(name, [data], mode)
    for name in sorted(set(plain) - set(small)):
        with suppress(FileNotFoundError), _opened(root / name) as (file, mode):
            put(name, _read(file, os.fstat(file).st_size), mode)
    with _work(root) as work:
        for name in (name for way, name in found if way is Way.DATABASE):
            copy = work / "copy.sqlite"
            with suppress(FileNotFoundError), _opened(root / name) as (_, mode):
                _copy_database(root / name, copy)
                on_database(copy)
                with _opened(copy) as (file, _):
                    put(name, _read(file, os.fstat(file).st_size), mode)
            copy.unlink(missing_ok=True)
    parts += copy_tables()
    for name in (name for way, name in found if way is Way.JOURNAL):
        with suppress(FileNotFoundError), _opened(root / name) as (file, mode):
            put(name, _read(file, _settled_size(file)), mode)
    return parts


def _steady(root: Path, names: list[str]) -> Iterator[tuple[str, tuple[bytes, int]]]:
    """Read small files so that they belong together: none changed while the last was read."""
    marks: dict[str, object] = {}
    found: dict[str, tuple[bytes, int]] = {}
    for _ in range(_ROUNDS):
        changed = False
        for name in names:
            try:
                with _opened(root / name) as (file, mode):
                    status = os.fstat(file)
                    mark = (status.st_ino, status.st_mtime_ns, status.st_size)
                    if marks.get(name) != mark:
                        marks[name], changed = mark, True
                        found[name] = b"".join(_read(file, status.st_size)), mode
            except FileNotFoundError:
                changed |= found.pop(name, None) is not None
                marks.pop(name, None)
        if not changed:
            break
    yield from sorted(found.items())


def _copy_database(source: Path, copy: Path) -> None:
    """Copy an SQLite database as it stands between two transactions; writers go on meanwhile."""
    os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE))
    with (
        closing(sqlite3.connect(source, timeout=30)) as reading,
        closing(sqlite3.connect(copy)) as writing,
    ):
        # In one step, within one read transaction: a busy writer cannot make it begin anew.
        reading.backup(writing, pages=-1)
        writing.execute("PRAGMA journal_mode = DELETE")


def _settled_size(file: int) -> int:
    """Return the size of a journal between two records; what stands there never changes."""
    fcntl.flock(file, fcntl.LOCK_SH)
    try:
        return os.fstat(file).st_size
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, int]]:
    """Open a file; gives the descriptor and the owner's bits of its mode."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        yield file, stat.S_IMODE(os.fstat(file).st_mode) & 0o700
    finally:
        os.close(file)


def _read(file: int, size: int) -> Iterator[bytes]:
    at = 0
    while at < size:
        piece = os.pread(file, min(PIECE, size - at), at)
        if not piece:
            return  # shorter by now; the manifest has what was read
        at += len(piece)
        yield piece


@contextmanager
def _work(root: Path) -> Iterator[Path]:
    """Give a directory for copies, beside what they are copies of; a killed one's goes now."""
    for left in root.glob(f"{WORK}*"):
        shutil.rmtree(left, ignore_errors=True)
    work = root / f"{WORK}{secrets.token_hex(8)}"
    work.mkdir(mode=DIRECTORY_MODE)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
