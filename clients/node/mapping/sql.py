"""Rows of a table or view of a database, read in one read-only transaction.

    LIANFANG_SOURCE='postgresql+psycopg://reader@db.example/crm?passfile=/etc/lianfang/pgpass'
    lianfang node map NODE crm.customers --url-env LIANFANG_SOURCE

The address may hold a password: it comes from an environment variable, or from a file that
only its owner can read, never from the command line, and no message repeats it. What SQL
cannot say in a table's name is written as a view in the database.
"""

from __future__ import annotations

import datetime
import os
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import polars as pl
from sqlalchemy import Engine, column, create_engine, func, inspect, select, table
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchTableError, SQLAlchemyError

from clients.node.mapping.looks import DATE_CURE
from clients.node.mapping.sources import Rows, check_headings
from compliance.configuration import ConfigError
from protocols.errors import InvalidTableError

Progress = Callable[[str, int, int], None]
"""Told a stage, how many rows or columns are done, and of how many."""

BATCH = 20_000
_CONNECT_S = 10
_OPEN = 0o077
_DATES = frozenset({datetime.date, datetime.datetime, datetime.time, datetime.timedelta})
_NUMBERS = frozenset({int, float, Decimal})
_TEXTS = frozenset({str, UUID})
_PLAIN = _NUMBERS | _TEXTS | {bool}
_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Database:
    """Where the address of a database stands: in a variable or in a file."""

    variable: str = ""
    file: Path | None = None

    def address(self, environment: Mapping[str, str]) -> URL:
        """Read the address.

        Raises:
            ConfigError: it is not there, not closed to others, or of another kind.
        """
        if bool(self.variable) == (self.file is not None):
            raise ConfigError("database: give either --url-env VARIABLE or --url-file FILE")
        text = environment.get(self.variable, "") if self.file is None else _in_file(self.file)
        if not text.strip():
            where = self.variable or "the file of --url-file"
            raise ConfigError(f"database: {where} is empty or not set; put the address there")
        try:
            url = make_url(text.strip())
        except (ArgumentError, ValueError):
            raise ConfigError(
                "database: not an address; write sqlite:///PATH or postgresql+psycopg://..."
            ) from None
        if url.get_backend_name() not in ("sqlite", "postgresql"):
            raise ConfigError(
                "database: neither sqlite:/// nor postgresql+psycopg://; correct the address"
            )
        return url


def read_table(
    address: URL,
    name: str,
    *,
    columns: Collection[str] | None = None,
    progress: Progress | None = None,
) -> Rows:
    """Read a table or view, whole; nothing is written to the database.

    Args:
        name: `table` or `schema.table`.
        columns: only these are asked for; all if None.

    Raises:
        InvalidTableError: there is no such table or column. ConfigError: the database cannot be
            read.
    """
    schema, _, plain = name.rpartition(".")
    try:
        engine = _engine(address)
    except (SQLAlchemyError, ImportError) as error:
        raise _failure(error) from None
    try:
        return _read(engine, plain, schema or None, columns, progress)
    except NoSuchTableError:
        raise InvalidTableError(
            "table: the database has none of this name; write TABLE or SCHEMA.TABLE"
        ) from None
    except (SQLAlchemyError, sqlite3.Error) as error:
        # Its text may hold the address, or a row.
        raise _failure(error) from None
    finally:
        engine.dispose()


def _read(
    engine: Engine,
    name: str,
    schema: str | None,
    wanted: Collection[str] | None,
    progress: Progress | None,
) -> Rows:
    with engine.connect() as connection:
        there = [found["name"] for found in inspect(connection).get_columns(name, schema=schema)]
        if not there:
            raise NoSuchTableError
        check_headings(there)
        names = [found for found in there if wanted is None or found in wanted]
        source = table(name, *(column(found) for found in names), schema=schema)
        total = connection.execute(select(func.count()).select_from(source)).scalar_one()
        gathered = {found: _Gathered() for found in names}
        done = 0
        streaming = connection.execution_options(stream_results=True, yield_per=BATCH)
        for batch in streaming.execute(select(*source.c)).partitions():
            for found, values in zip(names, zip(*batch, strict=True), strict=True):
                gathered[found].take(values)
            done += len(batch)
            if progress is not None:
                progress("reading rows", done, max(total, done))
    unreadable = {found: item.reason for found, item in gathered.items() if item.reason}
    frame = pl.DataFrame(
        {found: item.series() for found, item in gathered.items() if not item.reason}
    )
    return Rows(frame, unreadable)


class _Gathered:
    """One column, batch by batch, in the narrowest form that holds all of it."""

    def __init__(self) -> None:
        self.reason = ""
        self._parts: list[pl.Series] = []

    def take(self, values: Sequence[Any]) -> None:
        """Add a batch; a value of a kind that cannot be used ends the column."""
        if self.reason:
            return
        kinds = {type(value) for value in values if value is not None}
        if kinds & _DATES:
            self.reason = f"holds dates or times; {DATE_CURE}"
        elif kinds - _PLAIN:
            named = min(kind.__name__ for kind in kinds - _PLAIN)
            self.reason = f"holds values of type {named}; convert it in a view"
        else:
            self._parts.append(_series(values, kinds))
            return
        self._parts.clear()

    def series(self) -> pl.Series:
        """Return the whole column; numbers beside text are text."""
        if not self._parts:
            return pl.Series([], dtype=pl.Null)
        kinds = {part.dtype for part in self._parts} - {pl.Null()}
        if kinds <= {pl.Int64()} or kinds <= {pl.Float64()}:
            common = min(kinds, key=str, default=pl.Null())
        elif kinds <= {pl.Int64(), pl.Float64()}:
            common = pl.Float64()
        else:
            common = pl.Boolean() if kinds == {pl.Boolean()} else pl.String()
        return pl.concat([part.cast(common) for part in self._parts])


def _series(values: Sequence[Any], kinds: set[type]) -> pl.Series:
    if not kinds:
        return pl.Series([None] * len(values), dtype=pl.Null)
    if kinds == {bool}:
        return pl.Series(values, dtype=pl.Boolean)
    if kinds == {int} and all(value is None or abs(value) <= _LARGEST for value in values):
        return pl.Series(values, dtype=pl.Int64)
    if kinds <= _NUMBERS and kinds != {int}:
        return pl.Series([None if v is None else float(v) for v in values], dtype=pl.Float64)
    return pl.Series([None if v is None else str(v) for v in values], dtype=pl.String)


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        path = url.database or ""
        # Opened for reading alone; a file that is not there is not made.
        where = f"file:{quote(os.fspath(Path(path).absolute()))}?mode=ro"
        return create_engine(
            "sqlite+pysqlite://",
            creator=lambda: sqlite3.connect(where, uri=True, check_same_thread=False),
            hide_parameters=True,
        )
    query = {} if "connect_timeout" in url.query else {"connect_timeout": str(_CONNECT_S)}
    return create_engine(
        url.set(drivername="postgresql+psycopg").update_query_dict(query),
        hide_parameters=True,
        # One view of the table, from the first row to the last.
        isolation_level="REPEATABLE READ",
        execution_options={"postgresql_readonly": True},
    )


def _failure(error: Exception) -> ConfigError:
    cause = getattr(error, "orig", None) or error
    return ConfigError(
        f"database: cannot be read ({type(cause).__name__}); check the address, the rights of its "
        "user, and that the server runs"
    )


def _in_file(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & _OPEN:
                raise ConfigError(f"{path.name}: others can read it; chmod 600")
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path.name}: cannot be read; correct the path") from error
