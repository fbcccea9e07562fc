"""Opening a database so that a commit means that the data is on disk.

SQLite runs in WAL mode with synchronous=FULL: every commit is an fsync. Deleted content is
overwritten (secure_delete). PostgreSQL runs with synchronous_commit=on, and a server whose
fsync is switched off is refused. Connections stay in a pool; open an engine after a fork,
never before.

Values never stand in an error message: `hide_parameters` keeps SQLAlchemy from adding them.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    SQLAlchemyError,
)

from compliance.configuration import ConfigError
from compliance.files import FILE_MODE
from compliance.state.errors import StateUnavailableError

POOL_SIZE = 4
LOCK_TIMEOUT_S = 30
_WRITES = "lianfang_writes"
_TRIES = 50


def open_engine(address: str) -> Engine:
    """Open `sqlite:///path` or `postgresql://...`; nothing is created but an empty file.

    Raises:
        ConfigError: another kind of address, or a database that would lose confirmed writes.
        StateUnavailableError: it cannot be reached.
    """
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        # Its text holds a piece of the address, in which a password may stand.
        raise ConfigError("database: not an address; write sqlite:///<path>") from None
    match url.get_backend_name():
        case "sqlite" if url.database and url.database != ":memory:":
            return _open_sqlite(url, Path(url.database))
        case "postgresql":
            return _open_postgresql(url.set(drivername="postgresql+psycopg"))
        case _:
            raise ConfigError("database: neither sqlite:///<path> nor postgresql://; correct it")


def writing(engine: Engine) -> Engine:
    """Return the engine, with the same pool, whose transactions are to write from their start."""
    return engine.execution_options(**{_WRITES: True})


@contextmanager
def translated() -> Iterator[None]:
    """Turn every failure of the database into a `StateUnavailableError`."""
    try:
        yield
    except (IntegrityError, DataError) as error:
        # The server's own text of these shows the row, so it must not travel on as the cause.
        raise StateUnavailableError(f"storage failed: {type(error.orig).__name__}") from None
    except SQLAlchemyError as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise StateUnavailableError(f"storage failed: {type(cause).__name__}") from error
    except (sqlite3.IntegrityError, psycopg.IntegrityError, psycopg.DataError) as error:
        raise StateUnavailableError(f"storage failed: {type(error).__name__}") from None
    except (sqlite3.Error, psycopg.Error) as error:
        raise StateUnavailableError(f"storage failed: {type(error).__name__}") from error


@contextmanager
def disposed_on_error(engine: Engine) -> Iterator[None]:
    """Give the connections back if the engine is not going to be used."""
    try:
        yield
    except BaseException:
        engine.dispose()
        raise


def _open_sqlite(url: URL, path: Path) -> Engine:
    # The file has its mode from the start; the journal beside it takes the same.
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE))
    except OSError as error:
        raise StateUnavailableError("storage failed: the file cannot be opened") from error
    engine = create_engine(
        url.set(drivername="sqlite+pysqlite"),
        connect_args={"timeout": LOCK_TIMEOUT_S, "check_same_thread": False},
        pool_size=POOL_SIZE,
        hide_parameters=True,
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    with disposed_on_error(engine), translated():
        _switch_to_wal(engine)
    return engine


def _open_postgresql(url: URL) -> Engine:
    engine = create_engine(url, pool_size=POOL_SIZE, pool_pre_ping=True, hide_parameters=True)
    event.listen(engine, "connect", _prepare_postgresql)
    with disposed_on_error(engine), translated(), engine.connect() as connection:
        if connection.exec_driver_sql("SHOW fsync").scalar_one() != "on":
            raise ConfigError("database: the server runs with fsync off; switch it on")
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # Transactions begin when we say so: the driver's own way begins them at the first write,
    # after what the write is based on was read.
    connection.isolation_level = None
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and then wants to write fails when another wrote in
    # between; one that is to write therefore takes the lock at its start.
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _prepare_postgresql(connection: Any, _record: object) -> None:
    # The server frees what a host that vanished had taken; others do not wait for it for ever.
    connection.execute(
        f"SET synchronous_commit = on; SET lock_timeout = '{LOCK_TIMEOUT_S}s'; "
        f"SET idle_in_transaction_session_timeout = '{2 * LOCK_TIMEOUT_S}s'"
    )
    connection.commit()


def _switch_to_wal(engine: Engine) -> None:
    """Put the file into WAL mode, for good; the switch does not wait for locks by itself."""
    for attempt in range(_TRIES):
        raw = engine.raw_connection()
        try:
            mode = raw.cursor().execute("PRAGMA journal_mode = WAL").fetchone()
            if mode == ("wal",):
                return
        except sqlite3.OperationalError as error:
            if attempt == _TRIES - 1:
                raise StateUnavailableError("storage failed: the file stays locked") from error
        finally:
            raw.close()
        time.sleep(0.02)
    raise ConfigError("database: the file system does not allow WAL mode; use a local one")
