"""The contributor's own record of every report that it ever gave, sealed on its own disk.

The register is the only place where an identifier and what is said of it stand together.
All writing is in transactions of the caller's making: what one input changes, it changes
as a whole or not at all. Each change of a report raises the revision of the record that
it enters; `drafts` later finds the records whose revision is above what was published.

An entry is found by (number of the report, identifier, slot): one report may name several
identifiers, and the same row given twice finds itself. When an entry has expired its
sealed contents are deleted; its token stays, so that the row is not taken for a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from clients.feed.defects import Refusal
from clients.feed.entries import Details, Entry, last_month
from clients.feed.reports import Report
from clients.feed.schema import open_database
from clients.feed.sealing import TOKEN_SIZE, FeedKey
from clients.feed.states import STANDING, check_step
from compliance.errors import LogCorruptError
from protocols.codec import Reader, Writer
from protocols.lookup.payload import REFERENCE_SIZE, Category, Slot, Status

_CHECK = b"lianfang/feed/register/v1"
_IDENTIFIER, _REPORT, _ROOT, _WHY = b"identifier", b"report", b"root", b"transition"


class Effect(Enum):
    """What a report did to the register."""

    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts and when: stands beside every transition."""

    who: str
    now: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Found:
    token: bytes
    row: int
    identifier: int
    slot: Slot
    state: Status
    expires: int
    sealed: bytes | None


class Register:
    """One register, opened by one process; several may have it open."""

    def __init__(self, path: Path, key: FeedKey) -> None:
        self.key = key
        self.database = open_database(path)
        try:
            self._check_key()
        except BaseException:
            self.database.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    @contextmanager
    def transaction(self, *, keep: bool = True) -> Iterator[None]:
        """Do all or nothing; without `keep` nothing, however it ends."""
        self.database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.database.execute("ROLLBACK")
            raise
        self.database.execute("COMMIT" if keep else "ROLLBACK")

    def token(self, report: Report) -> bytes:
        """Return by what an entry is found: number, identifier and slot."""
        return self.key.token(
            _REPORT, report.report_id.encode(), report.canonical, bytes([report.slot])
        )

    def enter(self, report: Report, expires: int, actor: Actor) -> Effect:
        """Enter one report, or what it changes of an entry that is there.

        Raises:
            OutOfTurnError: its status cannot follow the one it has here.
        """
        token = self.token(report)
        found = self._find(token)
        if found is None:
            self._insert(report, token, expires, actor)
            return Effect.NEW
        after = report.status or found.state
        if after is not found.state:
            check_step(found.state, after)
        elif found.state not in STANDING:
            return Effect.UNCHANGED  # the end of its life: nothing is corrected any more
        details = Details.of(report)
        is_same = after is found.state and expires == found.expires
        if is_same and self._details(token, found.sealed) == details:
            return Effect.UNCHANGED
        self._change(found, after, details, expires, actor)
        return Effect.CHANGED

    def withdraw(self, report_id: str, actor: Actor) -> Effect | None:
        """Withdraw all that a report names; None if there is no such report.

        Raises:
            OutOfTurnError: it has expired.
        """
        rows = self.database.execute(
            "SELECT token FROM reports WHERE number = ?", (self._number(report_id),)
        ).fetchall()
        found = [one for (token,) in rows if (one := self._find(token)) is not None]
        if not found:
            return None
        if all(one.state is Status.EXPIRED for one in found):
            check_step(Status.EXPIRED, Status.WITHDRAWN)
        standing = [one for one in found if one.state in STANDING]
        for one in standing:
            details = self._details(one.token, one.sealed)
            self._change(one, Status.WITHDRAWN, details, one.expires, actor)
        return Effect.CHANGED if standing else Effect.UNCHANGED

    def expire(self, month: int, actor: Actor) -> int:
        """End every entry whose last month has passed, and delete what it sealed."""
        rows = self.database.execute(
            "SELECT token FROM reports WHERE expires < ? AND sealed IS NOT NULL", (month,)
        ).fetchall()
        ended = 0
        due = [one for (token,) in rows if (one := self._find(token)) is not None]
        for found in due:
            if found.state in STANDING:
                ended += 1
                self.database.execute(
                    "UPDATE reports SET state = ? WHERE id = ?", (Status.EXPIRED, found.row)
                )
                self._note(found.row, found.token, found.state, Status.EXPIRED, actor)
            self._touch(found.identifier, found.slot)
            self._erase(found)
        return ended

    def reschedule(self, retention: Mapping[Category, int]) -> None:
        """Let a changed retention hold for what was entered before."""
        rows = self.database.execute(
            "SELECT id, token, identifier, slot, expires, sealed FROM reports"
            " WHERE sealed IS NOT NULL"
        ).fetchall()
        for row, token, identifier, slot, before, sealed in rows:
            details = self._details(token, sealed)
            after = last_month(details.last, retention[details.category], details.until)
            if after != before:
                self.database.execute("UPDATE reports SET expires = ? WHERE id = ?", (after, row))
                self._touch(identifier, Slot(slot))

    def entries(self, identifier: int, slot: Slot) -> list[Entry]:
        """Return the reports that enter one record."""
        rows = self.database.execute(
            "SELECT token, state, expires, sealed FROM reports"
            " WHERE identifier = ? AND slot = ? AND sealed IS NOT NULL",
            (identifier, slot),
        )
        return [
            Entry(token, Status(state), expires, self._details(token, sealed))
            for token, state, expires, sealed in rows
        ]

    def reference(self, identifier_token: bytes, slot: Slot) -> bytes:
        """Return the handle by which this contributor finds a record again in a dispute."""
        first = self.key.token(b"reference", identifier_token, bytes([slot]))
        return first[:REFERENCE_SIZE]

    def canonical(self, token: bytes, sealed: bytes) -> bytes:
        """Open an identifier."""
        return self.key.open(_IDENTIFIER + token, sealed)

    def has(self, canonical: bytes) -> bool:
        """Whether an identifier was ever reported here."""
        token = self.key.token(_IDENTIFIER, canonical)
        return self._row("SELECT 1 FROM identifiers WHERE token = ?", token) is not None

    def reports_about(self, canonical: bytes) -> list[tuple[Slot, Status, Details | None]]:
        """Return what was ever reported of an identifier; no details where it has expired."""
        found = self._about(canonical)
        return [
            (one.slot, one.state, self._details(one.token, one.sealed) if one.sealed else None)
            for one in found
        ]

    def withdraw_about(self, canonical: bytes, actor: Actor) -> int:
        """Withdraw every standing report of an identifier; returns how many."""
        standing = [one for one in self._about(canonical) if one.state in STANDING]
        for one in standing:
            details = self._details(one.token, one.sealed)
            self._change(one, Status.WITHDRAWN, details, one.expires, actor)
        return len(standing)

    def is_public(self, canonical: bytes) -> bool:
        """Whether a record of an identifier is in the table, or on its way there."""
        row = self._row(
            "SELECT 1 FROM identifiers i JOIN records r ON r.identifier = i.id WHERE i.token = ?1"
            " AND (r.tag IS NOT NULL OR EXISTS (SELECT 1 FROM pending p"
            " WHERE p.identifier = i.id AND p.tag IS NOT NULL))",
            self.key.token(_IDENTIFIER, canonical),
        )
        return row is not None

    def is_waiting(self, canonical: bytes) -> bool:
        """Whether a record of an identifier has changed since it was published."""
        row = self._row(
            "SELECT 1 FROM identifiers i JOIN records r ON r.identifier = i.id"
            " WHERE i.token = ? AND r.revision > r.published",
            self.key.token(_IDENTIFIER, canonical),
        )
        return row is not None

    def end_about(self, canonical: bytes, actor: Actor) -> int:
        """End the withdrawn reports of an identifier, so that its record leaves the table."""
        withdrawn = [one for one in self._about(canonical) if one.sealed is not None]
        for one in withdrawn:
            self._note(one.row, one.token, one.state, Status.EXPIRED, actor)
            self._touch(one.identifier, one.slot)
            self.database.execute(
                "UPDATE reports SET state = ? WHERE id = ?", (Status.EXPIRED, one.row)
            )
            self._erase(one)
        return len(withdrawn)

    def forget_about(self, canonical: bytes, random: Callable[[int], bytes]) -> int:
        """Put random tokens in place of an identifier's and its reports'; returns how many.

        Only when no record of it is public: without its token it can be found no more. The
        transitions stay with their times, and say no longer why.
        """
        found = self._about(canonical)
        for one in found:
            token, nobody = random(TOKEN_SIZE), Writer().text("").text("").encode()
            self.database.execute(
                "UPDATE reports SET token = ?, number = ?, sealed = NULL WHERE id = ?",
                (token, random(TOKEN_SIZE), one.row),
            )
            self.database.execute(
                "UPDATE transitions SET sealed = ? WHERE report = ?",
                (self.key.seal(_WHY + token, nobody), one.row),
            )
        self.database.execute(
            "UPDATE identifiers SET token = ?, sealed = NULL, root = NULL, epoch = NULL"
            " WHERE token = ?",
            (random(TOKEN_SIZE), self.key.token(_IDENTIFIER, canonical)),
        )
        return len(found)

    def scrub(self) -> bool:
        """Take what was deleted out of the write-ahead log; False if a reader stands in the way."""
        row = self.database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return row is not None and not row[0]

    def _about(self, canonical: bytes) -> list[_Found]:
        rows = self.database.execute(
            "SELECT reports.token FROM reports JOIN identifiers i ON i.id = identifier"
            " WHERE i.token = ? ORDER BY reports.id",
            (self.key.token(_IDENTIFIER, canonical),),
        ).fetchall()
        return [one for (token,) in rows if (one := self._find(token)) is not None]

    def history(self, report_id: str) -> list[tuple[Status | None, Status, Actor]]:
        """Return every transition of a report, in order."""
        rows = self.database.execute(
            "SELECT reports.token, before, after, at, transitions.sealed FROM transitions"
            " JOIN reports ON reports.id = transitions.report WHERE number = ?"
            " ORDER BY transitions.id",
            (self._number(report_id),),
        )
        found: list[tuple[Status | None, Status, Actor]] = []
        for token, before, after, at, sealed in rows:
            reader = Reader(self.key.open(_WHY + token, sealed), "feed register: transition")
            actor = Actor(reader.text(), at, reader.text())
            found.append((Status(before) if before else None, Status(after), actor))
        return found

    def counts(self) -> list[tuple[Status, int, int]]:
        """Return state, category and how many, without canaries."""
        rows = self.database.execute(
            "SELECT state, category, COUNT(*) FROM reports WHERE canary = 0"
            " GROUP BY state, category ORDER BY state, category"
        )
        return [(Status(state), category, count) for state, category, count in rows]

    def canaries(self) -> int:
        """Return how many canaries there are."""
        row = self._row("SELECT COUNT(*) FROM reports WHERE canary = 1 AND sealed IS NOT NULL")
        return int(row[0]) if row else 0

    def root(self, token: bytes, sealed: bytes) -> bytes:
        """Open an identifier's root."""
        return self.key.open(_ROOT + token, sealed)

    def store_root(self, canonical: bytes, epoch: int, root: bytes) -> None:
        """Keep the root of an identifier in one epoch."""
        token = self.key.token(_IDENTIFIER, canonical)
        self.database.execute(
            "UPDATE identifiers SET epoch = ?, root = ? WHERE token = ? AND sealed IS NOT NULL",
            (epoch, self.key.seal(_ROOT + token, root), token),
        )

    def set_shared(self, identifier: int, *, shared: bool) -> None:
        """Say whether an identifier is on the list of numbers that many people share."""
        self.database.execute(
            "UPDATE identifiers SET shared = ? WHERE id = ?", (shared, identifier)
        )
        self.database.execute(
            "UPDATE records SET revision = revision + 1 WHERE identifier = ?", (identifier,)
        )

    def store_refusals(self, refusals: list[Refusal]) -> None:
        """Keep the refusals of the last input, in place of those before."""
        self.database.execute("DELETE FROM refusals")
        self.database.executemany(
            "INSERT INTO refusals VALUES (?, ?, ?, ?)",
            ((one.row, one.field, one.rule, one.cure) for one in refusals),
        )

    def refusals(self) -> list[Refusal]:
        """Return the refusals of the last input."""
        rows = self.database.execute("SELECT row, field, rule, cure FROM refusals ORDER BY rowid")
        return [Refusal(*row) for row in rows]

    def meta(self, name: str) -> bytes | None:
        """Return a named value."""
        row = self._row("SELECT value FROM meta WHERE name = ?", name)
        return bytes(row[0]) if row else None

    def set_meta(self, name: str, value: bytes | None) -> None:
        """Keep a named value, or forget it."""
        if value is None:
            self.database.execute("DELETE FROM meta WHERE name = ?", (name,))
        else:
            self.database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def _check_key(self) -> None:
        with self.transaction():
            sealed = self.meta("check")
            if sealed is None:
                self.set_meta("check", self.key.seal(b"check", _CHECK))
            elif self.key.open(b"check", sealed) != _CHECK:
                raise LogCorruptError("feed register: of another version; update this software")

    def _row(self, statement: str, *values: object) -> tuple[bytes, ...] | None:
        found: tuple[bytes, ...] | None = self.database.execute(statement, values).fetchone()
        return found

    def _number(self, report_id: str) -> bytes:
        return self.key.token(b"number", report_id.encode())

    def _find(self, token: bytes) -> _Found | None:
        row = self.database.execute(
            "SELECT id, identifier, slot, state, expires, sealed FROM reports WHERE token = ?",
            (token,),
        ).fetchone()
        if row is None:
            return None
        return _Found(token, row[0], row[1], Slot(row[2]), Status(row[3]), row[4], row[5])

    def _details(self, token: bytes, sealed: bytes | None) -> Details:
        if sealed is None:
            raise LogCorruptError("feed register: a standing report without contents; restore it")
        return Details.decode(self.key.open(_REPORT + token, sealed))

    def _insert(self, report: Report, token: bytes, expires: int, actor: Actor) -> None:
        state = report.status or Status.REPORTED
        check_step(None, state)
        identifier = self._identifier(report.canonical)
        sealed = self.key.seal(_REPORT + token, Details.of(report).encode())
        row = self.database.execute(
            "INSERT INTO reports (token, number, identifier, slot, state, category, expires,"
            " canary, sealed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (token, self._number(report.report_id), identifier, report.slot, state,
             report.category, expires, report.canary, sealed),
        ).fetchone()  # fmt: skip
        self._note(row[0], token, None, state, actor)
        self._touch(identifier, report.slot)

    def _identifier(self, canonical: bytes) -> int:
        token = self.key.token(_IDENTIFIER, canonical)
        row = self.database.execute(
            "SELECT id, sealed FROM identifiers WHERE token = ?", (token,)
        ).fetchone()
        if row is not None and row[1] is not None:
            return int(row[0])
        # New, or known from reports that have expired, whose contents were deleted.
        row = self.database.execute(
            "INSERT INTO identifiers (token, sealed) VALUES (?, ?)"
            " ON CONFLICT (token) DO UPDATE SET sealed = excluded.sealed RETURNING id",
            (token, self.key.seal(_IDENTIFIER + token, canonical)),
        ).fetchone()
        return int(row[0])

    def _change(
        self, found: _Found, after: Status, details: Details, expires: int, actor: Actor
    ) -> None:
        sealed = self.key.seal(_REPORT + found.token, details.encode())
        self.database.execute(
            "UPDATE reports SET state = ?, category = ?, sealed = ?, expires = ? WHERE id = ?",
            (after, details.category, sealed, expires, found.row),
        )
        self._note(found.row, found.token, found.state, after, actor)
        self._touch(found.identifier, found.slot)
        if after is Status.EXPIRED:
            self._erase(found)

    def _erase(self, found: _Found) -> None:
        """Delete what is sealed of a report, and its identifier when no report needs it."""
        self.database.execute("UPDATE reports SET sealed = NULL WHERE id = ?", (found.row,))
        self.database.execute(
            "UPDATE identifiers SET sealed = NULL, root = NULL, epoch = NULL WHERE id = ?1"
            " AND NOT EXISTS (SELECT 1 FROM reports WHERE identifier = ?1 AND sealed IS NOT NULL)",
            (found.identifier,),
        )

    def _note(
        self, report: int, token: bytes, before: Status | None, after: Status, actor: Actor
    ) -> None:
        why = Writer().text(actor.who).text(actor.reason).encode()
        self.database.execute(
            "INSERT INTO transitions (report, before, after, at, sealed) VALUES (?, ?, ?, ?, ?)",
            (report, before or 0, after, actor.now, self.key.seal(_WHY + token, why)),
        )

    def _touch(self, identifier: int, slot: Slot) -> None:
        """Let the next publication look at a record again."""
        self.database.execute(
            "INSERT INTO records (identifier, slot, revision) VALUES (?, ?, 1)"
            " ON CONFLICT (identifier, slot) DO UPDATE SET revision = revision + 1",
            (identifier, slot),
        )
