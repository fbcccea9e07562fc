"""Making a backup of a directory, and of the database that holds its state, while it is served.

The archive is written beside its name and takes it when all is on disk: a file of that name is
whole. It is sealed as a stream, so nothing of it lies in clear anywhere; keys that are sealed
in the directory are sealed in it once more and need both to open.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, create_engine, inspect, select

from compliance.atrest.envelope import DEFAULT_COST, Cost, Material
from compliance.atrest.stream import SealingStream
from compliance.backup.copying import Progress, copy_files
from compliance.backup.manifest import LogState, Manifest, Part
from compliance.backup.records import write_manifest
from compliance.backup.tables import Snapshot, state_of
from compliance.configuration import ConfigError
from compliance.files import FILE_MODE
from compliance.state.schema import LOGS


@dataclass(frozen=True, slots=True)
class Subject:
    """What is backed up.

    Args:
        kind: `hub` or `node`.
        database: the server that holds the state beside the directory, if there is one.
    """

    root: Path
    kind: str
    name: str
    database: Engine | None = None


def make_backup(
    subject: Subject,
    out: Path,
    material: Material,
    *,
    now: int,
    cost: Cost = DEFAULT_COST,
    progress: Progress = lambda _done, _of: None,
) -> Manifest:
    """Write a backup; durable on return.

    Raises:
        ConfigError: the file exists, or cannot be written.
        StorageError: the database cannot be reached. OSError: a file cannot be read.
    """
    if out.exists():
        raise ConfigError(f"{out}: exists already; a backup is never replaced, choose another name")
    draft = out.with_name(f".{out.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written; correct the path") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            stream = SealingStream(file, material, os.urandom, cost)
            manifest = _write(subject, stream, now, progress)
            stream.finish()
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, out)
    except FileExistsError as error:
        raise ConfigError(f"{out}: exists already; choose another name") from error
    finally:
        draft.unlink(missing_ok=True)
    _sync(out.parent)
    return manifest


def _write(subject: Subject, stream: SealingStream, now: int, progress: Progress) -> Manifest:
    logs: list[LogState] = []
    tables: dict[str, list[str]] = {}

    def copy_tables() -> list[Part]:
        if subject.database is None:
            return []
        with Snapshot.of(subject.database) as snapshot:
            logs.extend(snapshot.logs())
            tables.update(snapshot.columns)
            return snapshot.write(stream)

    parts = copy_files(
        subject.root,
        stream,
        on_database=lambda copy: logs.extend(_logs_in(copy)),
        copy_tables=copy_tables,
        progress=progress,
    )
    manifest = Manifest(subject.kind, subject.name, now, tuple(parts), tuple(logs), tables)
    write_manifest(stream, manifest)
    return manifest


def _logs_in(copy: Path) -> list[LogState]:
    """Return how far the logs have come that a copied database holds; it is only read."""
    engine = create_engine(f"sqlite:///file:{copy}?mode=ro&uri=true")
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table(LOGS.name):
                return []
            return [state_of(row) for row in connection.execute(select(LOGS)).all()]
    finally:
        engine.dispose()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
