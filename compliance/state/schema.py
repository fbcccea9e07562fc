"""The tables of a database as all migrations together make them.

    tlog, tlog_*     the logs: see `compliance.log.storage`
      tlog             one row a log: edge, published checkpoint, minimum index
      tlog_entry       entries; never changed
      tlog_tile        full tiles; never changed
      tlog_part        sealed private parts with their tags; emptied when erased
      tlog_part_key    the key of each sealed part, wrapped; deleted when erased
      tlog_document    which entry names which public document; never changed
      tlog_schema      a number by which programs from before Alembic refuse the database
    state_journal    one row a journal: how many records, and the chain over all of them
    state_record     records; never changed
    state_folder     one row a folder: how often its documents were changed
    state_document   documents in parts of one MiB
    alembic_version  which migration ran last

A new database is made from these declarations, an older one by the migrations; a test
compares what comes of both.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

METADATA = MetaData()

LOGS = Table(
    "tlog",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("origin", Text, nullable=False, unique=True),
    Column("size", BigInteger, nullable=False),
    Column("hashes", LargeBinary, nullable=False),
    Column("minimum", BigInteger, nullable=False),
    Column("checkpoint", LargeBinary),
)
ENTRIES = Table(
    "tlog_entry",
    METADATA,
    Column("log", Integer, primary_key=True, autoincrement=False),
    Column("place", BigInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)
TILES = Table(
    "tlog_tile",
    METADATA,
    Column("log", Integer, primary_key=True, autoincrement=False),
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
    Column("root", LargeBinary, nullable=False),
)
PARTS = Table(
    "tlog_part",
    METADATA,
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
    METADATA,
    Column("log", Integer, primary_key=True, autoincrement=False),
    Column("place", BigInteger, primary_key=True, autoincrement=False),
    Column("key", LargeBinary, nullable=False),
)
DOCUMENTS = Table(
    "tlog_document",
    METADATA,
    Column("log", Integer, primary_key=True, autoincrement=False),
    Column("place", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", LargeBinary, nullable=False),
)
LOG_SCHEMA = Table("tlog_schema", METADATA, Column("version", Integer, nullable=False))
Index("tlog_part_case", PARTS.c.case_tag)
Index("tlog_part_subject", PARTS.c.subject_tag)
Index("tlog_document_digest", DOCUMENTS.c.digest)

JOURNALS = Table(
    "state_journal",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("size", BigInteger, nullable=False),
    Column("chain", LargeBinary, nullable=False),
)
RECORDS = Table(
    "state_record",
    METADATA,
    Column("journal", Integer, primary_key=True, autoincrement=False),
    Column("place", BigInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)
FOLDERS = Table(
    "state_folder",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("version", BigInteger, nullable=False),
)
STATE_DOCUMENTS = Table(
    "state_document",
    METADATA,
    Column("folder", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)
# As Alembic itself declares it.
VERSION = Table(
    "alembic_version",
    METADATA,
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
