"""Transactions of threads, in plain SQL on connections of the engine's pool.

What a thread does within a block goes into the transaction that it has open. The statements
are the same for SQLite and PostgreSQL, with `?` for each parameter; they go to the driver as
they are, because what is done for every lookup must not cost more than the disk does.

    reading    one statement, which sees one moment
    writing    a method that is one commit, or joins what the thread has open
    holding    a block of the caller's own, in which several commits may be made
    grouped    a block that is one commit

SQLite takes the file's lock at the start of whatever writes; PostgreSQL takes rows. Grouped
blocks take several in any order, so they run one after the other: none waits in a circle.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.pool import PoolProxiedConnection

from compliance.state.engine import LOCK_TIMEOUT_S, translated
from compliance.state.errors import StateUnavailableError

_POSTGRESQL = "postgresql"
# One lock a schema, so that hubs in schemas of their own do not wait for each other.
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(1818845551, hashtext(current_schema()))"


class Work:
    """What one thread has open on one connection.

    Args:
        kept: a connection of the caller's, who goes on with it if nothing failed on it.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        writes: bool,
        is_grouped: bool = False,
        kept: PoolProxiedConnection | None = None,
    ) -> None:
        self.is_grouped = is_grouped
        self.is_begun = False
        self._is_postgresql = engine.dialect.name == _POSTGRESQL
        # Appended to a query for a row that nobody else may write until the end.
        self.hold = " FOR UPDATE" if self._is_postgresql else ""
        self._writes = writes
        self._failed = False
        self._blocks = 0
        self._thread = threading.get_ident()
        self._undoing: list[tuple[int, Callable[[], None]]] = []
        self._ending: list[Callable[[], None]] = []
        self._is_kept = kept is not None
        if kept is not None:
            self._raw = kept
            return
        with translated():
            self._raw = engine.raw_connection()

    @property
    def has_failed(self) -> bool:
        """Whether nothing of it can be committed any more."""
        return self._failed

    @property
    def is_ours(self) -> bool:
        """Whether it is the calling thread's."""
        return self._thread == threading.get_ident()

    def run(self, sql: str, parameters: Sequence[object] = ()) -> Any:
        """Run one statement, `?` for each parameter, and return the driver's cursor.

        Raises:
            StateUnavailableError: it failed, or one before it; the transaction is lost.
        """
        with self._failing(), translated():
            if not self.is_begun:
                self._begin()
            return self._execute(sql, parameters)

    def run_each(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Run one statement for each row of parameters; as `run`."""
        if len(rows) == 1:
            self.run(sql, rows[0])
        elif rows:
            with self._failing(), translated():
                if not self.is_begun:
                    self._begin()
                self._cursor().executemany(self._in_form(sql), rows)

    def commit(self) -> None:
        """Make durable what was run so far; a further statement begins anew."""
        with self._failing(), translated():
            self._raw.commit()
        self.is_begun = False

    def fail(self) -> None:
        """Let nothing of it be committed: a method was left in the middle."""
        self._failed = True

    def on_undone(self, call: Callable[[], None]) -> None:
        """Have something called if what is done up to here does not last."""
        self._undoing.append((self._blocks, call))

    def on_end(self, call: Callable[[], None]) -> None:
        """Have something called at the end, whatever came of it."""
        self._ending.append(call)

    @contextmanager
    def block(self) -> Iterator[None]:
        """Undo what is done in here, and only that, if an error leaves the block."""
        self._blocks += 1
        name = f"block{self._blocks}"
        self.run(f"SAVEPOINT {name}")
        try:
            yield
        except BaseException:
            undone = [call for depth, call in self._undoing if depth >= self._blocks]
            self._undoing = [item for item in self._undoing if item[0] < self._blocks]
            for call in undone:
                call()
            if not self._failed:
                self.run(f"ROLLBACK TO SAVEPOINT {name}")
            raise
        else:
            self.run(f"RELEASE SAVEPOINT {name}")
            within = self._blocks
            self._undoing = [(min(depth, within - 1), call) for depth, call in self._undoing]
        finally:
            self._blocks -= 1

    def end(self, *, lasts: bool) -> None:
        """Commit or undo what is open, and give the connection back."""
        lasting = False
        try:
            if lasts:
                if self.is_begun:
                    self.commit()
                elif self._failed:
                    raise StateUnavailableError("database: failed before in the same block")
                lasting = True
        finally:
            for _, call in () if lasting else self._undoing:
                call()
            for call in self._ending:
                call()
            self._give_back()

    def _give_back(self) -> None:
        # A connection on which something failed may have lost its server: it is not used again.
        with translated():
            if self._failed:
                self._raw.invalidate()
            elif self._is_kept:
                self._undo()
                return
            elif self._is_postgresql and not self._writes:
                self._driver.autocommit = False
            self._raw.close()  # the pool rolls back what is open

    def _undo(self) -> None:
        """Leave nothing open on a connection that is used on; as the pool does with its own."""
        try:
            if self.is_begun:
                self._raw.rollback()
        except BaseException:
            self._failed = True
            self._raw.invalidate()
            raise

    def _begin(self) -> None:
        if self._is_postgresql:
            # The driver begins by itself with the first statement; a single one needs none.
            if not self._writes:
                self._driver.autocommit = True
            elif self.is_grouped:
                self._execute(_ONE_AT_A_TIME, ())
        elif self._writes:
            self._execute("BEGIN IMMEDIATE", ())
        self.is_begun = self._writes

    def _execute(self, sql: str, parameters: Sequence[object]) -> Any:
        return self._cursor().execute(self._in_form(sql), parameters)

    def _cursor(self) -> Any:
        return self._driver.cursor(binary=True) if self._is_postgresql else self._driver.cursor()

    def _in_form(self, sql: str) -> str:
        return _for_postgresql(sql) if self._is_postgresql else sql

    @property
    def _driver(self) -> Any:
        return self._raw.dbapi_connection

    @contextmanager
    def _failing(self) -> Iterator[None]:
        if self._failed:
            raise StateUnavailableError("database: failed before in the same block")
        try:
            yield
        except BaseException:
            self._failed = True
            raise


class Transactions:
    """Opens what threads work in, over one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._local = threading.local()
        # SQLite has one writer, and those that wait for it look again after a while: threads
        # of this process take turns here instead.
        self._turn = None if engine.dialect.name == _POSTGRESQL else threading.Lock()
        # The connection of whoever has the turn. Always the same one: what it has read of the
        # file stays true, where another one would read it all again after each commit.
        self._kept: PoolProxiedConnection | None = None

    def close(self) -> None:
        """Give the connections back, once whoever writes has ended; what is used again connects.

        Raises:
            StateUnavailableError: a thread writes and does not end.
        """
        if self._turn is not None:
            with self._taking_turns(self._turn):
                kept, self._kept = self._kept, None
                if kept is not None:
                    kept.close()
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Work]:
        """Run one statement that reads."""
        work = self._open()
        if work is not None:
            yield work
            return
        work = Work(self._engine, writes=False)
        try:
            yield work
        finally:
            work.end(lasts=False)

    @contextmanager
    def writing(self) -> Iterator[Work]:
        """Run a method that writes, whole or not at all."""
        work = self._open()
        if work is None:
            with self._opened(is_grouped=False) as work:
                yield work
            return
        try:
            yield work
        except BaseException:
            work.fail()
            raise

    @contextmanager
    def holding(self) -> Iterator[Work]:
        """Run a block of the caller's: its own errors undo nothing that a method has done."""
        work = self._open()
        if work is not None:
            yield work
            return
        with self._opened(is_grouped=False, keeps=True) as work:
            yield work

    @contextmanager
    def grouped(self) -> Iterator[None]:
        """Put all that the thread does in here into one commit."""
        work = self._open()
        if work is None:
            with self._opened(is_grouped=True) as work:
                work.run("SELECT 1")
                yield
            return
        if not work.is_grouped:
            raise RuntimeError("transaction: begin it before `exclusive`, not inside of it")
        with work.block():
            yield

    def _open(self) -> Work | None:
        found: Work | None = getattr(self._local, "work", None)
        return found

    @contextmanager
    def _opened(self, *, is_grouped: bool, keeps: bool = False) -> Iterator[Work]:
        if self._turn is None:
            work = Work(self._engine, writes=True, is_grouped=is_grouped)
            with self._at_work(work, keeps=keeps):
                yield work
            return
        with self._taking_turns(self._turn):
            if self._kept is None:
                with translated():
                    self._kept = self._engine.raw_connection()
            work = Work(self._engine, writes=True, is_grouped=is_grouped, kept=self._kept)
            try:
                with self._at_work(work, keeps=keeps):
                    yield work
            finally:
                if work.has_failed:
                    self._kept = None  # it was given up

    @contextmanager
    def _taking_turns(self, turn: threading.Lock) -> Iterator[None]:
        if not turn.acquire(timeout=LOCK_TIMEOUT_S):
            raise StateUnavailableError("database: another thread writes and does not end")
        try:
            yield
        finally:
            turn.release()

    @contextmanager
    def _at_work(self, work: Work, *, keeps: bool) -> Iterator[None]:
        self._local.work = work
        lasts = False
        try:
            yield
            lasts = True
        except Exception:
            lasts = keeps and work.is_begun and not work.has_failed
            raise
        finally:
            self._local.work = None
            work.end(lasts=lasts)


@lru_cache(maxsize=256)
def _for_postgresql(sql: str) -> str:
    return sql.replace("?", "%s")
