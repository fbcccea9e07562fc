"""The tables of the log, and the functions that bring a database to them, one a version.

    tlog            one row a log: edge, published checkpoint, minimum index
    tlog_entry      entries; never changed
    tlog_tile       full tiles; never changed
    tlog_part       sealed private parts with their tags; emptied when erased
    tlog_part_key   the key of each sealed part, wrapped; deleted when erased
    tlog_document   which entry names which public document; never changed
    tlog_schema     how many of the functions ran

A function that was released is never changed; a new shape is a further function. The tables
as declared here are what all of them together make.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    inspect,
    select,
)

from compliance.configuration import ConfigError
from compliance.log.engine import translated, writing

_METADATA = MetaData()
# Schema set-up of PostgreSQL is serialised by an advisory lock under this number.
_LOCK = 0x6C69616E

VERSIONS = Table("tlog_schema", MetaData(), Column("version", Integer, nullable=False))

LOGS = Table(
    "tlog",
    _METADATA,
    Column("id", Integer, primary_key=True),
    Column("origin", Text, nullable=False, unique=True),
    Column("size", BigInteger, nullable=False),
    Column("hashes", LargeBinary, nullable=False),
    Column("minimum", BigInteger, nullable=False),
    Column("checkpoint", LargeBinary),
)
ENTRIES = Table(
    "tlog_entry",
    _METADATA,
    Column("log", Integer, primary_key=True, autoincrement=False),
    Column("place", BigInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)
TILES = Table(
    "tlog_tile",
    _METADATA,
    Column("log", Integer, primary_key=True, autoincrement=False),
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
    Column("root", LargeBinary, nullable=False),
)
PARTS = Table(
    "tlog_part",
    _METADATA,
    Column("log", Integer, primary_key=True, autoincrement=False),
    Column("place", BigInteger, primary_key=True, autoincrement=False),
    Column("commitment", LargeBinary),
    Column("sealed", LargeBinary),
    Column("case_tag", LargeBinary),
    Column("subject_tag", LargeBinary),
    Column("erased_at", BigInteger),
)
PART_KEYS = Table(
    "tlog_part_key",
    _METADATA,
    Column("log", Integer, primary_key=True, autoincrement=False),
    Column("place", BigInteger, primary_key=True, autoincrement=False),
    Column("key", LargeBinary, nullable=False),
)
DOCUMENTS = Table(
    "tlog_document",
    _METADATA,
    Column("log", Integer, primary_key=True, autoincrement=False),
    Column("place", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", LargeBinary, nullable=False),
)
Index("tlog_part_case", PARTS.c.case_tag)
Index("tlog_part_subject", PARTS.c.subject_tag)
Index("tlog_document_digest", DOCUMENTS.c.digest)

# In canonical JSON no text holds an unescaped quotation mark: there is one such place at most.
_DOCUMENT = re.compile(rb'"document":"([0-9a-f]{64})"')
_AT_ONCE = 4_096


def _first(connection: Connection) -> None:
    _METADATA.create_all(connection, tables=[LOGS, ENTRIES, TILES, PARTS, PART_KEYS])


def _second(connection: Connection) -> None:
    """Add the documents, and those of the entries that are there."""
    DOCUMENTS.create(connection)
    for log, size in connection.execute(select(LOGS.c.id, LOGS.c.size)).all():
        for start in range(0, size, _AT_ONCE):
            _add_documents(connection, log, start)


def _add_documents(connection: Connection, log: int, start: int) -> None:
    place = ENTRIES.c.place
    here = (ENTRIES.c.log == log) & (place >= start) & (place < start + _AT_ONCE)
    named = [
        {"log": log, "place": row.place, "digest": bytes.fromhex(found[1].decode())}
        for row in connection.execute(select(place, ENTRIES.c.data).where(here)).all()
        if (found := _DOCUMENT.search(bytes(row.data))) is not None
    ]
    if named:
        connection.execute(DOCUMENTS.insert(), named)


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_first, _second)


def migrate(engine: Engine) -> None:
    """Bring a database to this version of the program, in one transaction; run by one at a time.

    Raises:
        ConfigError: the database is of a later version.
    """
    with translated(), writing(engine).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        found = _version(connection)
        for step in MIGRATIONS[found:]:
            step(connection)
        if found < len(MIGRATIONS):
            VERSIONS.create(connection, checkfirst=True)
            connection.execute(VERSIONS.delete())
            connection.execute(VERSIONS.insert().values(version=len(MIGRATIONS)))


def prepare(engine: Engine) -> None:
    """Make the tables in an empty database; refuse one of another version.

    Raises:
        ConfigError: says whether the database or the program is too old.
    """
    with translated(), engine.connect() as connection:
        found = _version(connection)
    if found == 0:
        migrate(engine)
    elif found < len(MIGRATIONS):
        raise ConfigError(
            f"database: version {found}, the program needs {len(MIGRATIONS)}; make a copy of "
            "the database, then migrate it"
        )


def _version(connection: Connection) -> int:
    if not inspect(connection).has_table(VERSIONS.name):
        return 0
    found: int = connection.execute(select(VERSIONS.c.version)).scalar_one()
    if found > len(MIGRATIONS):
        raise ConfigError(
            f"database: version {found}, this program knows {len(MIGRATIONS)}; update the program"
        )
    return found
