"""The store of sign-ins as one SQLite file, `STAFF/signin.sqlite`, mode 600.

Concurrency: one connection behind a lock in each process; processes wait for each other's
transactions (WAL). Durability: `synchronous=FULL`, but for `touch`.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compliance.files import DIRECTORY_MODE, FILE_MODE
from compliance.log.errors import StorageError
from compliance.signin.values import Identity, Method, Passkey, Session
from compliance.staff.staff import Staff

NAME = "signin.sqlite"
_VERSION = 1
_BUSY_MS = 10_000
_SCHEMA = """
CREATE TABLE session (
  key BLOB PRIMARY KEY, account TEXT NOT NULL, stamp BLOB NOT NULL, method TEXT NOT NULL,
  created INTEGER NOT NULL, seen INTEGER NOT NULL, proved INTEGER NOT NULL, device TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX session_account ON session (account);
CREATE TABLE passkey (
  id BLOB PRIMARY KEY, account TEXT NOT NULL, handle BLOB NOT NULL, public_key BLOB NOT NULL,
  sign_count INTEGER NOT NULL, name TEXT NOT NULL, created INTEGER NOT NULL, used INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX passkey_account ON passkey (account);
CREATE TABLE identity (
  issuer TEXT NOT NULL, subject TEXT NOT NULL, account TEXT NOT NULL, is_managed INTEGER NOT NULL,
  bound INTEGER NOT NULL, PRIMARY KEY (issuer, subject)
) WITHOUT ROWID;
CREATE INDEX identity_account ON identity (account);
CREATE TABLE challenge (
  key BLOB PRIMARY KEY, value BLOB NOT NULL, until INTEGER NOT NULL
) WITHOUT ROWID;
"""
_SESSION = "key, account, stamp, method, created, seen, proved, device"
_PASSKEY = "id, account, handle, public_key, sign_count, name, created, used"
_IDENTITY = "issuer, subject, account, is_managed, bound"
_ADD_SESSION = f"INSERT INTO session ({_SESSION}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  names of columns
_ADD_PASSKEY = f"INSERT OR IGNORE INTO passkey ({_PASSKEY}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  names of columns
_BIND = f"INSERT OR REPLACE INTO identity ({_IDENTITY}) VALUES (?, ?, ?, ?, ?)"  # noqa: S608  names of columns


class SqliteSignIns:
    """See `compliance.signin.values.SignInStore` for the contract; close it after use.

    Raises:
        StorageError: from every method, if the file cannot be read or written.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        path = directory / NAME
        # It has its mode from the start: SQLite's own files beside it take it over.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE))
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=False
            )
            self._open()
        except sqlite3.Error as error:
            raise StorageError(f"{NAME}: cannot be opened; restore it from a backup") from error

    def close(self) -> None:
        """Give the file back."""
        with self._lock:
            self._connection.close()

    def add_session(self, session: Session) -> None:
        """Keep a session."""
        self._write(
            _ADD_SESSION, session.key, session.account, session.stamp, session.method.value,
            session.created, session.seen, session.proved, session.device,
        )  # fmt: skip

    def session(self, key: bytes) -> Session | None:
        """Return a session by its key."""
        rows = self._read(f"SELECT {_SESSION} FROM session WHERE key = ?", key)  # noqa: S608  names of columns
        return _session(rows[0]) if rows else None

    def sessions(self, account: str) -> Sequence[Session]:
        """Return the sessions of an account, the newest first."""
        query = f"SELECT {_SESSION} FROM session WHERE account = ? ORDER BY seen DESC, key"  # noqa: S608  names of columns
        return [_session(row) for row in self._read(query, account)]

    def touch(self, key: bytes, *, seen: int) -> None:
        """Remember when a session was used."""
        self._write("UPDATE session SET seen = ? WHERE key = ?", seen, key)

    def prove(self, key: bytes, *, proved: int) -> None:
        """Remember that somebody proved anew who it is."""
        self._write("UPDATE session SET proved = ? WHERE key = ?", proved, key)

    def end_session(self, key: bytes) -> None:
        """Forget a session, if it is there."""
        self._write("DELETE FROM session WHERE key = ?", key)

    def end_sessions(self, account: str, *, but: bytes = b"") -> int:
        """Forget all sessions of an account but one; returns how many."""
        return self._write("DELETE FROM session WHERE account = ? AND key <> ?", account, but)

    def sweep(self, *, seen: int, created: int, now: int) -> None:
        """Forget sessions not used since `seen` or begun before `created`, and old challenges."""
        self._write("DELETE FROM session WHERE seen < ? OR created < ?", seen, created)
        self._write("DELETE FROM challenge WHERE until < ?", now)

    def add_passkey(self, passkey: Passkey) -> bool:
        """Keep a passkey; False if there is one of this id."""
        found = self._write(
            _ADD_PASSKEY, passkey.id, passkey.account, passkey.handle, passkey.public_key,
            passkey.sign_count, passkey.name, passkey.created, passkey.used,
        )  # fmt: skip
        return found == 1

    def passkey(self, number: bytes) -> Passkey | None:
        """Return a passkey by its id."""
        rows = self._read(f"SELECT {_PASSKEY} FROM passkey WHERE id = ?", number)  # noqa: S608  names of columns
        return Passkey(*rows[0]) if rows else None

    def passkeys(self, account: str) -> Sequence[Passkey]:
        """Return the passkeys of an account, the oldest first."""
        query = f"SELECT {_PASSKEY} FROM passkey WHERE account = ? ORDER BY created, id"  # noqa: S608  names of columns
        return [Passkey(*row) for row in self._read(query, account)]

    def count_passkey(self, number: bytes, *, before: int, after: int, now: int) -> bool:
        """Move the counter of a passkey on from `before`; False if it stands elsewhere."""
        query = "UPDATE passkey SET sign_count = ?, used = ? WHERE id = ? AND sign_count = ?"
        return self._write(query, after, now, number, before) == 1

    def remove_passkey(self, account: str, number: bytes) -> bool:
        """Forget a passkey of an account; False if it has none of this id."""
        query = "DELETE FROM passkey WHERE account = ? AND id = ?"
        return self._write(query, account, number) == 1

    def bind(self, identity: Identity) -> None:
        """Keep an identity; one of the same issuer and subject is replaced."""
        self._write(
            _BIND, identity.issuer, identity.subject, identity.account,
            int(identity.is_managed), identity.bound,
        )  # fmt: skip

    def identity(self, issuer: str, subject: str) -> Identity | None:
        """Return who somebody at an issuer is here."""
        query = f"SELECT {_IDENTITY} FROM identity WHERE issuer = ? AND subject = ?"  # noqa: S608  names of columns
        rows = self._read(query, issuer, subject)
        return _identity(rows[0]) if rows else None

    def identities(self, account: str) -> Sequence[Identity]:
        """Return the identities that open an account."""
        query = f"SELECT {_IDENTITY} FROM identity WHERE account = ? ORDER BY issuer, subject"  # noqa: S608  names of columns
        return [_identity(row) for row in self._read(query, account)]

    def unbind(self, account: str) -> int:
        """Forget all identities of an account; returns how many."""
        return self._write("DELETE FROM identity WHERE account = ?", account)

    def add_challenge(self, key: bytes, value: bytes, *, until: int, most: int) -> bool:
        """Keep what an answer will be compared with, in place of one of the same key."""
        with self._transaction() as run:
            run("DELETE FROM challenge WHERE key = ?", key)
            ((count,),) = run("SELECT count(*) FROM challenge")
            if count >= most:
                return False
            run("INSERT INTO challenge (key, value, until) VALUES (?, ?, ?)", key, value, until)
        return True

    def take_challenge(self, key: bytes, *, now: int) -> bytes | None:
        """Return what was kept under a key and forget it; None if it is gone or too old."""
        with self._transaction() as run:
            rows = run("SELECT value, until FROM challenge WHERE key = ?", key)
            run("DELETE FROM challenge WHERE key = ?", key)
        return bytes(rows[0][0]) if rows and now < rows[0][1] else None

    def _open(self) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        with self._transaction() as run:
            ((version,),) = run("PRAGMA user_version")
            if version == 0:
                for statement in _SCHEMA.split(";\n"):
                    run(statement)
                run(f"PRAGMA user_version = {_VERSION}")
            elif version != _VERSION:
                raise StorageError(f"{NAME}: of another version; update this program")

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        """Hold the file over several statements: all of them happen, or none."""

        def run(statement: str, *values: object) -> list[Any]:
            return self._connection.execute(statement, values).fetchall()

        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield run
                except BaseException:
                    self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise StorageError(f"{NAME}: cannot be written") from error

    def _write(self, statement: str, *values: object) -> int:
        with self._lock:
            try:
                return self._connection.execute(statement, values).rowcount
            except sqlite3.Error as error:
                raise StorageError(f"{NAME}: cannot be written") from error

    def _read(self, statement: str, *values: object) -> list[Any]:
        with self._lock:
            try:
                return self._connection.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise StorageError(f"{NAME}: cannot be read") from error


@contextmanager
def opened_beside(staff: Staff) -> Iterator[SqliteSignIns]:
    """Open the store beside the accounts for a while, as a command does."""
    store = SqliteSignIns(staff.directory)
    try:
        yield store
    finally:
        store.close()


def _session(row: Any) -> Session:
    key, account, stamp, method, *rest = row
    return Session(key, account, stamp, Method(method), *rest)


def _identity(row: Any) -> Identity:
    issuer, subject, account, is_managed, bound = row
    return Identity(issuer, subject, account, bool(is_managed), bound)
