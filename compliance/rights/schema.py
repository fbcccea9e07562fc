"""The file of requests: SQLite with a write-ahead log, every commit on disk before it returns.

Durability: WAL with synchronous=FULL. Concurrency: any number of processes; writers hold the
file for one transaction (BEGIN IMMEDIATE) and wait for each other up to a minute. Deleted
contents are overwritten (secure_delete); `scrub` empties the write-ahead log as well.

    requests   number, kind, state, dates, answer; the person's texts under the request's key
    subjects   tokens of whom a request is about
    events     what happened when, by whom (pseudonym), sealed why
    holds      on a token or on a request: owner, sealed reason, end
    erasures   decided ones: under which entry of the log, and why the log's parts are kept
    steps      of an erasure: what was found in a store, and when it was erased
    recipients of an erasure: who had received something, and when it was told
    dealings   of a dispute: with whom, under which of their numbers, what they decided

A copied file tells how many requests there were and when, and not whose.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compliance.errors import LogCorruptError
from compliance.rights.errors import StoreWaitsError

VERSION = 1
_WAIT_S = 60.0
_PRIVATE = 0o600
_TABLES = """
CREATE TABLE requests (
    id INTEGER PRIMARY KEY,
    number TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    profile TEXT NOT NULL,
    state TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    answered_at INTEGER,
    answer TEXT,
    code TEXT NOT NULL DEFAULT '',
    certificate TEXT NOT NULL DEFAULT '',
    key BLOB,
    sealed BLOB
);
CREATE TABLE subjects (
    request INTEGER NOT NULL REFERENCES requests (id),
    token TEXT NOT NULL,
    PRIMARY KEY (request, token)
) WITHOUT ROWID;
CREATE INDEX subjects_by_token ON subjects (token);
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    request INTEGER NOT NULL REFERENCES requests (id),
    at INTEGER NOT NULL,
    what TEXT NOT NULL,
    actor BLOB NOT NULL,
    sealed BLOB
);
CREATE TABLE holds (
    number TEXT PRIMARY KEY,
    token TEXT,
    request INTEGER REFERENCES requests (id),
    owner BLOB NOT NULL,
    begun_at INTEGER NOT NULL,
    until INTEGER NOT NULL,
    released_at INTEGER,
    key BLOB NOT NULL,
    sealed BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE steps (
    request INTEGER NOT NULL REFERENCES requests (id),
    store TEXT NOT NULL,
    found INTEGER NOT NULL,
    erased_at INTEGER,
    PRIMARY KEY (request, store)
) WITHOUT ROWID;
CREATE TABLE erasures (
    request INTEGER PRIMARY KEY REFERENCES requests (id),
    origin TEXT NOT NULL,
    place INTEGER NOT NULL,
    kept TEXT NOT NULL
);
CREATE TABLE recipients (
    request INTEGER NOT NULL REFERENCES requests (id),
    name TEXT NOT NULL,
    told_at INTEGER,
    PRIMARY KEY (request, name)
) WITHOUT ROWID;
CREATE TABLE dealings (
    request INTEGER PRIMARY KEY REFERENCES requests (id),
    party TEXT NOT NULL,
    theirs TEXT NOT NULL,
    decision TEXT NOT NULL DEFAULT '',
    UNIQUE (party, theirs)
);
"""


class Database:
    """One open connection to a file of requests; for one thread."""

    def __init__(self, path: Path) -> None:
        # Made before SQLite does, which would follow the umask; its side files copy the mode.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, _PRIVATE))
        self.connection = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)
        try:
            version = self._prepare()
        except sqlite3.DatabaseError as error:
            self.connection.close()
            raise LogCorruptError(
                "requests: the file cannot be used; restore it from a backup"
            ) from error
        if version not in {0, VERSION}:
            self.connection.close()
            raise LogCorruptError(f"requests: version {version} of the file; update this software")

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def one(self, statement: str, *values: object) -> tuple[object, ...] | None:
        """Return the first row, or None."""
        found: tuple[object, ...] | None = self.connection.execute(statement, values).fetchone()
        return found

    def all(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        """Return all rows."""
        return self.connection.execute(statement, values).fetchall()

    def run(self, statement: str, *values: object) -> int:
        """Change something; only in a transaction. Returns how many rows."""
        return self.connection.execute(statement, values).rowcount

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Do all or nothing."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def scrub(self) -> None:
        """Take what was deleted out of the write-ahead log too.

        Raises:
            StoreWaitsError: another process reads old pages at this moment; call it again.
        """
        busy, *_ = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise StoreWaitsError("requests: another process reads the file; run it again")

    def _prepare(self) -> int:
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            "secure_delete = ON",
            "temp_store = MEMORY",
        ):
            self.connection.execute(f"PRAGMA {pragma}")
        with self.transaction():
            (version,) = self.connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in filter(str.strip, _TABLES.split(";")):
                    self.connection.execute(statement)
                self.connection.execute(f"PRAGMA user_version = {VERSION}")
        return int(version)
