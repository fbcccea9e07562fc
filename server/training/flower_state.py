"""Flower's own database: made whole or not at all.

Flower makes and migrates its tables one statement after the other. A SuperLink that was killed
meanwhile would leave a file with which none can start again. The file is therefore made under
another name and put in its place at once. One of another version is made anew: the hub registers
its partners at every start, and a run whose SuperLink has ended has failed.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from alembic.script import ScriptDirectory
from flwr.supercore.state.alembic.utils import build_alembic_config, run_migrations
from sqlalchemy import Engine, create_engine

_BESIDE = ("-journal", "-wal", "-shm")


def prepare(path: Path) -> None:
    """Make sure that the file is there and of the installed version; for one process at a time."""
    draft = path.with_name(f"{path.name}.draft")
    if path.exists() and _versions(path) == _heads(path):
        return
    path.unlink(missing_ok=True)
    # What lies beside a database is applied to whatever file has its name.
    for leftover in [draft, *(Path(f"{file}{end}") for file in (path, draft) for end in _BESIDE)]:
        leftover.unlink(missing_ok=True)
    engine = _engine(draft)
    try:
        run_migrations(engine)
    finally:
        engine.dispose()
    draft.replace(path)


def _versions(path: Path) -> set[str]:
    """Return the versions that a file says it has; none if it cannot be read."""
    try:
        with closing(sqlite3.connect(path)) as database:
            return {version for (version,) in database.execute("SELECT * FROM alembic_version")}
    except sqlite3.DatabaseError:
        return set()


def _heads(path: Path) -> set[str]:
    return set(ScriptDirectory.from_config(build_alembic_config(_engine(path))).get_heads())


def _engine(path: Path) -> Engine:
    return create_engine(f"sqlite:///{path}")
