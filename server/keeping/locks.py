"""Taking turns among all processes of a hub, by name.

One that dies lets go of what it held: the file system frees a lock with the process, and
PostgreSQL with its connection. A name is held by one thread at a time, and is not to be taken
twice by one. Locks order writers; what was written is made safe by whoever writes it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from compliance.staff.locking import exclusive
from compliance.state.errors import StateUnavailableError

POOL_SIZE = 12
WAIT_MS = 30_000
_KEY = "hashtextextended(current_schema() || %s, 0)"  # the schema: one server may keep many hubs
_TAKE = f"SELECT pg_advisory_lock({_KEY})"
_TRY = f"SELECT pg_try_advisory_lock({_KEY})"
_FREE = f"SELECT pg_advisory_unlock({_KEY})"


class Lease(Protocol):
    """A name that one process holds for long, until it is given back or the process dies."""

    def holds(self) -> bool:
        """Report whether this process holds the name; takes it if nobody does."""
        ...

    def close(self) -> None:
        """Give the name back."""
        ...


class Locks(Protocol):
    """Gives names to one at a time."""

    def holding(self, name: str) -> AbstractContextManager[None]:
        """Hold a name for the time of the block; waits for whoever has it.

        Raises:
            StorageError: it cannot be had.
        """
        ...

    def lease(self, name: str) -> Lease:
        """Return what holds a name for as long as this process lives."""
        ...

    def close(self) -> None:
        """Give back what belongs to all names."""
        ...


class FileLocks:
    """For processes of one machine: files in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @contextmanager
    def holding(self, name: str) -> Iterator[None]:
        """Hold a name for the time of the block; waits for whoever has it."""
        with exclusive(self._directory / f"{sha256(name.encode()).hexdigest()[:32]}.lock"):
            yield

    def lease(self, name: str) -> Lease:
        """Return a lease that is always held: one process of a machine serves a hub."""
        return _Own(name)

    def close(self) -> None:
        """Do nothing: every lock is opened for its time alone."""


@dataclass(frozen=True, slots=True)
class _Own:
    name: str

    def holds(self) -> bool:
        return True

    def close(self) -> None:
        """Do nothing."""


class DatabaseLocks:
    """For processes of any machine: advisory locks of the PostgreSQL server.

    Args:
        address: of the server, as `server.database.address_of` gives it.
    """

    def __init__(self, address: str) -> None:
        url = make_url(address).set(drivername="postgresql+psycopg")
        options: dict[str, Any] = {"hide_parameters": True, "isolation_level": "AUTOCOMMIT"}
        self._engine = create_engine(
            url, pool_size=POOL_SIZE, max_overflow=POOL_SIZE, pool_reset_on_return=None, **options
        )
        # A lease lives on a connection of its own, which nobody else is given.
        self._single = create_engine(url, poolclass=NullPool, **options)
        for engine in (self._engine, self._single):
            event.listen(engine, "connect", _prepare)

    @contextmanager
    def holding(self, name: str) -> Iterator[None]:
        """Hold a name for the time of the block; waits for whoever has it."""
        connection = self._taken(name)
        try:
            yield
        except BaseException:
            # Not given back but closed: whatever went wrong, the lock goes with it.
            connection.invalidate()
            raise
        else:
            with suppress(SQLAlchemyError):  # where the connection is gone the lock is too
                connection.exec_driver_sql(_FREE, (name,))
        finally:
            connection.close()

    def _taken(self, name: str) -> Connection:
        try:
            return self._try_to_take(name)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise _unavailable(error) from None
        except SQLAlchemyError as error:
            raise _unavailable(error) from None
        # The connection had died in the pool, as after a restart of the server.
        try:
            return self._try_to_take(name)
        except SQLAlchemyError as error:
            raise _unavailable(error) from None

    def _try_to_take(self, name: str) -> Connection:
        connection = self._engine.connect()
        try:
            connection.exec_driver_sql(_TAKE, (name,))
        except BaseException:
            connection.close()
            raise
        return connection

    def lease(self, name: str) -> Lease:
        """Return what holds a name for as long as this process, or its connection, lives."""
        return _DatabaseLease(self._single, name)

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()
        self._single.dispose()


class _DatabaseLease:
    """A lock on a connection of its own; asked anew whether it is still there."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._name = name
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    def holds(self) -> bool:
        """Report whether this process holds the name; takes it if nobody does."""
        with self._lock:
            if self._connection is not None:
                try:
                    self._connection.exec_driver_sql("SELECT 1")
                except SQLAlchemyError:
                    # The lock went with the connection, and somebody else may have it.
                    self._drop()
                else:
                    return True
            try:
                return self._take()
            except SQLAlchemyError as error:
                raise _unavailable(error) from None

    def _take(self) -> bool:
        connection = self._engine.connect()
        try:
            if connection.exec_driver_sql(_TRY, (self._name,)).scalar_one():
                self._connection = connection
                return True
        finally:
            if self._connection is not connection:
                connection.close()
        return False

    def close(self) -> None:
        """Give the name back."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            with suppress(SQLAlchemyError):
                self._connection.invalidate()
                self._connection.close()
            self._connection = None


def _unavailable(error: SQLAlchemyError) -> StateUnavailableError:
    # Its text may hold a piece of the address.
    cause = error.orig if isinstance(error, DBAPIError) else error
    return StateUnavailableError(f"locks: the database failed: {type(cause).__name__}")


def _prepare(connection: Any, _record: object) -> None:
    connection.execute(f"SET lock_timeout = {WAIT_MS}")
    if not connection.autocommit:
        connection.commit()
