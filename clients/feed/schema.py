"""The register's file: SQLite with a write-ahead log, every commit on disk before it returns.

Durability: WAL with synchronous=FULL, one fsync a commit. Concurrency: writers take the
file for the length of one transaction (BEGIN IMMEDIATE) and wait for each other up to a
minute; readers see the last commit. Deleted contents are overwritten (secure_delete).

    identifiers   token, sealed canonical form, sealed root of one epoch, whether shared by many
    reports       token of (number, identifier, slot); number's token; state; category; sealed
    transitions   before, after, when, sealed who and why; never changed, never deleted
    records       one row per identifier and slot: what has changed, what was published
    pending       the one version that is on its way to the hub, and what it contains
    refusals      of the last input: row, field, rule, cure

State, category, slot and times are readable, so that a copied file tells how many, and not who.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from compliance.errors import LogCorruptError

VERSION = 1
_WAIT_S = 60.0
_CACHE_KB = 256 << 10
_PRIVATE = 0o600
_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE identifiers (
    id INTEGER PRIMARY KEY,
    token BLOB NOT NULL UNIQUE,
    sealed BLOB,
    epoch INTEGER,
    root BLOB,
    shared INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE reports (
    id INTEGER PRIMARY KEY,
    token BLOB NOT NULL UNIQUE,
    number BLOB NOT NULL,
    identifier INTEGER NOT NULL REFERENCES identifiers (id),
    slot INTEGER NOT NULL,
    state INTEGER NOT NULL,
    category INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    canary INTEGER NOT NULL,
    sealed BLOB
);
CREATE INDEX reports_by_number ON reports (number);
CREATE INDEX reports_by_record ON reports (identifier, slot);
CREATE INDEX reports_by_expiry ON reports (expires) WHERE sealed IS NOT NULL;
CREATE TABLE transitions (
    id INTEGER PRIMARY KEY,
    report INTEGER NOT NULL REFERENCES reports (id),
    before INTEGER NOT NULL,
    after INTEGER NOT NULL,
    at INTEGER NOT NULL,
    sealed BLOB NOT NULL
);
CREATE TABLE records (
    identifier INTEGER NOT NULL REFERENCES identifiers (id),
    slot INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    published INTEGER NOT NULL DEFAULT 0,
    tag BLOB,
    PRIMARY KEY (identifier, slot)
) WITHOUT ROWID;
CREATE INDEX records_waiting ON records (identifier) WHERE revision > published;
CREATE TABLE pending (
    identifier INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    tag BLOB,
    PRIMARY KEY (identifier, slot)
) WITHOUT ROWID;
CREATE TABLE refusals (row INTEGER, field TEXT, rule TEXT, cure TEXT);
"""


def open_database(path: Path) -> sqlite3.Connection:
    """Open the register's file, or make it, readable by its owner alone.

    Raises:
        LogCorruptError: it is no register, or of a later version of this software.
    """
    # Made before SQLite does, which would follow the umask; its side files copy the mode.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, _PRIVATE))
    database = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA foreign_keys = ON")
        database.execute("PRAGMA secure_delete = ON")
        database.execute("PRAGMA temp_store = MEMORY")
        # Tokens are random: with the default of 2 MB a large file would go through its pages
        # once for every few rows. What is not needed is not taken.
        database.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
        database.execute("BEGIN IMMEDIATE")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in filter(str.strip, _TABLES.split(";")):
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {VERSION}")
        database.execute("COMMIT")
    except sqlite3.DatabaseError as error:
        database.close()
        raise LogCorruptError(
            "feed register: the file cannot be used; restore it from a backup"
        ) from error
    if version not in {0, VERSION}:
        database.close()
        raise LogCorruptError(
            f"feed register: version {version} of the file, this software reads {VERSION}; update"
        )
    return database
