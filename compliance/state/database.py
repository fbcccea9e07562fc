"""The database of a hub: its journals, its documents, and what belongs together in one commit.

    SQLite        the file of an embedded hub, one writer at a time
    PostgreSQL    shared by several processes, on one host or on several

Durability: what a method or a block has written is on disk when it returns. Concurrency: any
number of threads and processes may have one database open. Failure: a method that cannot do
its work raises `StateUnavailableError`; nothing has to be opened again once the database is
back. Open a database after a fork, never before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import Engine

from compliance.files import DIRECTORY_MODE
from compliance.state.documents import Documents
from compliance.state.engine import disposed_on_error, open_engine
from compliance.state.errors import StateUnavailableError
from compliance.state.journal import DatabaseJournal
from compliance.state.migrating import HEAD, prepare
from compliance.state.transactions import Transactions

_VERSION = "SELECT version_num FROM alembic_version"


class StateDatabase:
    """One database, for any number of threads; a context manager.

    Args:
        engine: belongs to this object from here on; its tables are made, or brought up to
            this program.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        with disposed_on_error(engine):
            prepare(engine)
        self._transactions = Transactions(engine)

    def journal(self, name: str, *, forget: Callable[[], None] | None = None) -> DatabaseJournal:
        """Return the journal of a name, made with its first record; the object holds nothing.

        Args:
            forget: drops what was learned from the records, after a transaction with an
                `append` in it was undone; all records are then given once more. Without it
                the journal object refuses further work, and another one is to be opened.
        """
        return DatabaseJournal(self._transactions, name, forget=forget)

    def documents(self, folder: str) -> Documents:
        """Return the documents of a folder, made with its first document."""
        return Documents(self._transactions, folder)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Put all that this thread does to journals and documents in here into one commit.

        An error that leaves the block undoes all of it. A block within a block is undone
        alone, if whoever holds the outer one catches its error; it is durable with the outer
        one. Blocks of several threads and processes run one after the other.

        Raises:
            StateUnavailableError: nothing of it is there, or, where the commit itself got no
                answer, all of it may be.
        """
        with self._transactions.grouped():
            yield

    def check(self) -> None:
        """Report whether the database answers and is of this program's version.

        Raises:
            StateUnavailableError: it is not; says which.
        """
        with self._transactions.reading() as work:
            row = work.run(_VERSION).fetchone()
        if row is None or row[0] != HEAD:
            raise StateUnavailableError("database: another program has changed its version")

    def close(self) -> None:
        """Give the connections back."""
        self._transactions.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_state(address: str | Path) -> StateDatabase:
    """Open a database, make its tables if it is empty, and bring it up to this program.

    Args:
        address: the file of an SQLite database, made with mode 0600; or a URL for SQLAlchemy.

    Raises:
        ConfigError: the address or the server's settings do not fit, or the database is of a
            later program; says what to do.
        StateUnavailableError: it cannot be reached.
    """
    if isinstance(address, Path):
        address.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        address = f"sqlite:///{address}"
    return StateDatabase(open_engine(address))
