"""The tables of a PostgreSQL database in a backup: all of its schema, whatever they are.

    reading   one REPEATABLE READ transaction: every table as it was at one moment, while
              others go on writing
    writing   one transaction into tables that this program has just made: all rows or none

Rows travel as PostgreSQL's own COPY text. Which tables there are is asked of the database,
so a table that a later version adds is in its backups without a change here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from psycopg import sql
from sqlalchemy import Connection, Engine, MetaData, Table, inspect, select, text

from compliance.atrest.errors import SealedKeysError
from compliance.backup.manifest import LogState, Part
from compliance.backup.records import TABLE, Sink, write_part
from compliance.configuration import ConfigError
from compliance.log.storage import Edge
from compliance.state.engine import translated
from compliance.state.schema import LOGS
from protocols.tlog.lines import HASH_SIZE


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All tables of a database at one moment; hold it no longer than the copying takes."""

    connection: Connection = field(repr=False)
    tables: Sequence[Table]

    @classmethod
    @contextmanager
    def of(cls, engine: Engine) -> Iterator[Self]:
        """Begin reading.

        Raises:
            StorageError: the database cannot be reached.
        """
        with translated(), engine.connect() as plain:
            connection = plain.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
            with connection.begin():
                found = MetaData()
                found.reflect(connection)
                yield cls(connection, found.sorted_tables)

    @property
    def columns(self) -> dict[str, list[str]]:
        """The columns of every table."""
        return {table.name: [column.name for column in table.columns] for table in self.tables}

    def write(self, sink: Sink) -> list[Part]:
        """Write the rows of all tables; return what the manifest says of them."""
        return [
            write_part(sink, f"{TABLE}{table.name}", self._rows(table)) for table in self.tables
        ]

    def logs(self) -> list[LogState]:
        """Return how far the logs in it have come."""
        if LOGS.name not in self.columns:
            return []
        return [state_of(row) for row in self.connection.execute(select(LOGS)).all()]

    def _rows(self, table: Table) -> Iterator[bytes]:
        statement = _copy("COPY {} ({}) TO STDOUT", table.name, self.columns[table.name])
        with _cursor(self.connection) as cursor, cursor.copy(statement) as copy:
            for piece in copy:
                yield bytes(piece)


class Loading:
    """The tables of a backup on their way into an empty database.

    Args:
        connection: of a transaction that ends when all is verified.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        found = MetaData()
        with translated():
            found.reflect(connection)
        self._tables = {table.name: table for table in found.sorted_tables}
        self._order = list(self._tables)
        self._loaded: dict[str, list[str]] = {}

    def clear(self) -> None:
        """Take out the rows with which tables are made, such as that of their version."""
        if self._order:
            names = sql.SQL(", ").join(map(sql.Identifier, self._order))
            with translated(), _cursor(self._connection) as cursor:
                cursor.execute(sql.SQL("TRUNCATE {}").format(names))

    def load(self, name: str, pieces: Iterator[bytes], take: Callable[[bytes], None]) -> None:
        """Write the rows of a table.

        Args:
            take: is given every piece as well, for its hash.

        Raises:
            ConfigError: this program has no such table.
        """
        if name not in self._tables:
            raise ConfigError(
                f"database: the backup has a table {name} that this program does not make; "
                "restore it with the version that made it, then upgrade"
            )
        columns = [column.name for column in self._tables[name].columns]
        statement = _copy("COPY {} ({}) FROM STDIN", name, columns)
        with translated(), _cursor(self._connection) as cursor, cursor.copy(statement) as copy:
            for piece in pieces:
                take(piece)
                copy.write(piece)
        self._loaded[name] = columns

    def check(self, columns: Mapping[str, list[str]]) -> None:
        """Refuse a backup whose tables are not those that this program makes.

        Raises:
            ConfigError: they differ. SealedKeysError: a table is missing in the backup.
        """
        if set(columns) != set(self._loaded):
            raise SealedKeysError("backup: lacks a table of its own manifest; take another")
        if set(columns) != set(self._tables) or any(
            columns[name] != loaded for name, loaded in self._loaded.items()
        ):
            raise ConfigError(
                "database: the tables of the backup are of another version than this program; "
                "restore it with the version that made it, then upgrade"
            )
        self._continue_numbers()

    def _continue_numbers(self) -> None:
        """Let numbers that the database gives go on behind those that were loaded."""
        for name in self._loaded:
            for column in inspect(self._connection).get_columns(name):
                # Of serial and identity columns; the others have none.
                found = self._connection.execute(
                    text("SELECT pg_get_serial_sequence(:table, :column)"),
                    {"table": f'"{name}"', "column": column["name"]},
                ).scalar_one()
                if found is not None:
                    highest = self._connection.execute(
                        select(self._tables[name].c[column["name"]]).order_by(
                            self._tables[name].c[column["name"]].desc()
                        )
                    ).first()
                    if highest is not None:
                        self._connection.execute(
                            text("SELECT setval(:sequence, :value)"),
                            {"sequence": found, "value": highest[0]},
                        )


def is_empty(engine: Engine) -> bool:
    """Report whether a database has no table in its schema."""
    with translated():
        return not inspect(engine).get_table_names()


def state_of(row: Any) -> LogState:
    """Return the state of a log from its row."""
    hashes = bytes(row.hashes)
    found = tuple(hashes[at : at + HASH_SIZE] for at in range(0, len(hashes), HASH_SIZE))
    note = b"" if row.checkpoint is None else bytes(row.checkpoint)
    return LogState(row.origin, row.size, Edge(row.size, found).root().hex(), note.decode())


def _copy(form: str, name: str, columns: Sequence[str]) -> sql.Composed:
    listed = sql.SQL(", ").join(map(sql.Identifier, columns))
    return sql.SQL(form).format(sql.Identifier(name), listed)


@contextmanager
def _cursor(connection: Connection) -> Iterator[Any]:
    raw = connection.connection.cursor()
    try:
        yield raw
    finally:
        raw.close()
