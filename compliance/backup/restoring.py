"""Putting a backup back: into a new directory, verified whole before it takes its name.

    1  all of it is read and verified against its manifest, which is the last record
    2  it is read once more: files go into a directory beside the name, rows into one open
       transaction of an empty database
    3  runs that were open are charged in full, sessions end; the directory bears its mark
    4  the transaction ends, and the directory takes its name

An archive that is damaged, cut short or altered leaves nothing behind. Until the restore is
settled (`settled`), nothing acts for the directory.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import Engine

from compliance.atrest.envelope import Material
from compliance.atrest.errors import SealedKeysError
from compliance.atrest.stream import OpeningStream
from compliance.backup.manifest import Manifest
from compliance.backup.records import TABLE, read_records
from compliance.backup.settled import Restored
from compliance.backup.spending import spend_open_runs
from compliance.backup.tables import Loading, is_empty
from compliance.configuration import ConfigError
from compliance.files import DIRECTORY_MODE, FILE_MODE
from compliance.state.engine import translated, writing
from compliance.state.migrating import prepare

LEDGER = Path("ledger") / "budget.journal"
SIGN_INS = Path("staff") / "signin.sqlite"
_OWNER = 0o700

Connect = Callable[[Path], Engine | None]
"""Returns the empty database for the tables; is given the directory with hub.json in it."""
Progress = Callable[[int, int], None]


def restore_backup(
    file: Path,
    root: Path,
    material: Material,
    *,
    kind: str,
    now: int,
    connect: Connect = lambda _: None,
    progress: Progress = lambda _done, _of: None,
) -> Restored:
    """Put a backup back; return the mark that the directory bears from now on.

    Args:
        kind: `hub` or `node`; a backup of the other is refused.

    Raises:
        SealedKeysError: the archive does not open, or is not what was written.
        ConfigError: the directory or the database is not empty, or of another version.
    """
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise ConfigError(f"{root}: is not empty; a restore replaces nothing, choose another")
    manifest = verify_backup(file, material, progress)
    if manifest.kind != kind:
        raise ConfigError(f"{file}: is the backup of a {manifest.kind}; use the command for that")
    start = f".{root.name}.restoring-"
    for left in root.parent.glob(f"{start}*"):  # of one that was killed
        shutil.rmtree(left, ignore_errors=True)
    staging = root.with_name(f"{start}{secrets.token_hex(8)}")
    staging.mkdir(mode=DIRECTORY_MODE, parents=True)
    try:
        with ExitStack() as ending:
            work = _Restore(staging, connect, ending)
            work.read(file, material, progress)
            spent = spend_open_runs(staging / LEDGER, now)
            _end_sign_ins(staging / SIGN_INS)
            mark = Restored.of(manifest, now, spent)
            mark.store(staging)
            _sync(staging)
            # The rows first: without the directory they are no hub, and are found not empty.
            work.commit()
            if root.exists():
                root.rmdir()
            staging.rename(root)
            _sync(root.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return mark


def _end_sign_ins(path: Path) -> None:
    """End all sessions: one that was ended after the backup must not count again."""
    if path.exists():
        with closing(sqlite3.connect(path)) as database, database:
            for table in ("session", "challenge"):
                database.execute(f"DELETE FROM {table}")  # noqa: S608  two names, above


def verify_backup(
    file: Path, material: Material, progress: Progress = lambda _done, _of: None
) -> Manifest:
    """Read all of a backup and write nothing; return what it says of itself.

    Raises:
        SealedKeysError: it does not open, or is not what was written.
        ConfigError: it cannot be read.
    """
    found: dict[str, tuple[int, str]] = {}
    with _opened(file) as source:
        whole = file.stat().st_size
        for record in read_records(OpeningStream(source, material, str(file))):
            if isinstance(record, Manifest):
                _compare(record, found, file)
                return record
            name, pieces = record
            if name in found:
                raise SealedKeysError(f"{file}: has a part twice; take another copy")
            found[name] = _measure(pieces)
            progress(source.tell(), whole)
    raise SealedKeysError(f"{file}: has no manifest; take another copy")


def _measure(pieces: Iterator[bytes]) -> tuple[int, str]:
    digest, size = sha256(), 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
    return size, digest.hexdigest()


def _compare(manifest: Manifest, found: Mapping[str, tuple[int, str]], file: Path) -> None:
    told = {part.name: (part.size, part.sha256) for part in manifest.parts}
    if told != found or len(told) != len(manifest.parts):
        raise SealedKeysError(f"{file}: its parts are not those of its manifest; take another")


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    try:
        source = file.open("rb")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read; correct the path") from error
    with source:
        yield source


class _Restore:
    """One restore on its way."""

    def __init__(self, staging: Path, connect: Connect, ending: ExitStack) -> None:
        self._staging = staging
        self._connect = connect
        self._ending = ending
        self._loading: Loading | None = None
        self._found: dict[str, tuple[int, str]] = {}
        self._commit: Callable[[], object] = lambda: None

    def read(self, file: Path, material: Material, progress: Progress) -> Manifest:
        """Read all of an archive, and check it against its manifest."""
        source = self._ending.enter_context(_opened(file))
        whole = file.stat().st_size
        manifest: Manifest | None = None
        stream = OpeningStream(source, material, str(file))
        for record in read_records(stream):
            if isinstance(record, Manifest):
                manifest = record
                continue
            name, pieces = record
            self._take(name, pieces)
            progress(source.tell(), whole)
        if manifest is None:
            raise SealedKeysError(f"{file}: has no manifest; take another copy")
        self._check(manifest, file)
        return manifest

    def commit(self) -> None:
        """End the transaction of the database, if there is one."""
        with translated():
            self._commit()

    def _check(self, manifest: Manifest, file: Path) -> None:
        _compare(manifest, self._found, file)
        for part in manifest.parts:
            if not part.name.startswith(TABLE):
                path = self._staging / part.name
                path.chmod((part.mode & _OWNER) or FILE_MODE)
        if self._loading is not None:
            self._loading.check(manifest.tables)

    def _take(self, name: str, pieces: Iterator[bytes]) -> None:
        digest, size = sha256(), 0

        def count(piece: bytes) -> None:
            nonlocal size
            digest.update(piece)
            size += len(piece)

        if name.startswith(TABLE):
            self._tables().load(name.removeprefix(TABLE), pieces, count)
        else:
            self._write(name, pieces, count)
        self._found[name] = size, digest.hexdigest()

    def _write(self, name: str, pieces: Iterator[bytes], count: Callable[[bytes], None]) -> None:
        path = self._staging / name
        folder = self._staging
        for part in Path(name).parts[:-1]:
            folder /= part
            folder.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(path, flags, FILE_MODE), "wb") as file:
            for piece in pieces:
                count(piece)
                file.write(piece)

    def _tables(self) -> Loading:
        if self._loading is None:
            engine = self._connect(self._staging)
            if engine is None:
                raise ConfigError(
                    "database: the backup holds tables of PostgreSQL; give --database of an "
                    "empty one"
                )
            self._ending.callback(engine.dispose)
            if not is_empty(engine):
                raise ConfigError("database: is not empty; a restore replaces nothing")
            prepare(engine)
            with translated():
                connection = self._ending.enter_context(writing(engine).connect())
                transaction = connection.begin()
            self._commit = transaction.commit
            self._loading = Loading(connection)
            self._loading.clear()
        return self._loading


def _sync(folder: Path) -> None:
    # One flush for all files of the restore, before it takes its name.
    os.sync()
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
