"""The file of requests of one organisation: `rights/requests.sqlite`.

Every change is one transaction over the request and the event that tells it: a killed process
leaves a request as it was or as it became. Nothing here decides whether somebody may act;
`compliance.rights.service` does, and enters it into the log before it calls this.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import date
from pathlib import Path
from typing import Any

from compliance.rights.case import Case, Event, Texts, draw_number
from compliance.rights.deadlines import due_at
from compliance.rights.errors import CaseErasedError, UnknownCaseError
from compliance.rights.kinds import (
    NEEDS_CODE,
    OPEN,
    Answer,
    Kind,
    State,
    check_answer,
    check_step,
)
from compliance.rights.schema import Database
from compliance.rights.sealing import RightsKey
from compliance.rights.terms import terms_of
from compliance.rights.tokens import canonical_token, rights_folder, subject_key
from protocols.errors import OutOfTurnError, UnsupportedParameterError

REQUESTS = "requests.sqlite"
_COLUMNS = (
    "number, kind, profile, state, received_at, due_at, answered_at, answer, code, certificate,"
    " sealed IS NULL"
)


class CaseFile:
    """One open file of requests; for one thread, any number of processes.

    Args:
        root: the organisation's directory. random: `os.urandom` in production.
        holidays: days on which no period ends, beside weekends.
    """

    def __init__(
        self, root: Path, random: Callable[[int], bytes], *, holidays: Collection[date] = ()
    ) -> None:
        self.key = RightsKey.load(root, random)
        self.random = random
        self._subjects = subject_key(root, random)
        self._holidays = holidays
        self.database = Database(rights_folder(root) / REQUESTS)

    def close(self) -> None:
        """Give the file back."""
        self.database.close()

    def token(self, canonical: bytes) -> str:
        """Return the token of an identifier."""
        return canonical_token(self._subjects, canonical)

    def open(
        self, kind: Kind, profile: str, texts: Texts, *, now: int, actor: bytes, number: str = ""
    ) -> Case:
        """Take in a request; returns it with its receipt number.

        Raises:
            UnsupportedParameterError: no such profile, or no identifier.
        """
        terms = terms_of(kind, profile)
        if not texts.identifiers:
            raise UnsupportedParameterError("request: names nobody; give an identifier")
        number = number or self.draw()
        key = self.key.new(number)
        sealed = self.key.seal(key, number, texts.encode())
        due = due_at(terms, now, holidays=self._holidays)
        with self.database.transaction():
            self.database.run(
                "INSERT INTO requests (number, kind, profile, state, received_at, due_at, key,"
                " sealed) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                number, kind.value, profile, State.RECEIVED.value, now, due, key, sealed,
            )  # fmt: skip
            row = self.row(number)
            for token in {self.token(item.canonical) for item in texts.identifiers}:
                self.database.run("INSERT INTO subjects VALUES (?, ?)", row, token)
            self.note(row, now, kind.value, actor, "")
        return self.case(number)

    def draw(self) -> str:
        """Draw a receipt number."""
        return draw_number("R", self.random)

    def case(self, number: str) -> Case:
        """Return a request.

        Raises:
            UnknownCaseError: there is none of this number.
        """
        found = self.database.one(f"SELECT {_COLUMNS} FROM requests WHERE number = ?", number)  # noqa: S608  the columns are a constant
        if found is None:
            raise UnknownCaseError("request: no such number here; run `lianfang audit rights list`")
        return _case(found)

    def cases(self) -> list[Case]:
        """Return all requests: open ones first, by the day on which they are due."""
        rows = self.database.all(f"SELECT {_COLUMNS} FROM requests ORDER BY due_at, id")  # noqa: S608  the columns are a constant
        return sorted((_case(row) for row in rows), key=lambda case: case.state not in OPEN)

    def texts(self, number: str) -> Texts:
        """Return what is known of the person.

        Raises:
            CaseErasedError: it was erased.
        """
        found = self.database.one("SELECT key, sealed FROM requests WHERE number = ?", number)
        if found is None or not isinstance(found[0], bytes) or not isinstance(found[1], bytes):
            raise CaseErasedError(f"request {number}: what was known of the person was erased")
        return Texts.decode(self.key.open(found[0], number, found[1]))

    def tokens(self, number: str) -> list[str]:
        """Return the tokens of whom a request is about; none once erased."""
        rows = self.database.all(
            "SELECT token FROM subjects WHERE request = ? ORDER BY token", self.row(number)
        )
        return [str(token) for (token,) in rows]

    def about(self, tokens: Iterable[str]) -> list[Case]:
        """Return the requests about any of these tokens."""
        found: dict[str, Case] = {}
        for token in tokens:
            rows = self.database.all(
                f"SELECT {_COLUMNS} FROM requests WHERE id IN"  # noqa: S608  the columns are a constant
                " (SELECT request FROM subjects WHERE token = ?) ORDER BY id",
                token,
            )
            found |= {case.number: case for case in map(_case, rows)}
        return list(found.values())

    def events(self, number: str) -> list[Event]:
        """Return what happened to a request, in order."""
        (key,) = self.database.one("SELECT key FROM requests WHERE number = ?", number) or (None,)
        rows: list[Any] = self.database.all(
            "SELECT at, what, actor, sealed FROM events WHERE request = ? ORDER BY id",
            self.row(number),
        )
        return [
            Event(at, what, actor, self._why(key, number, sealed))
            for at, what, actor, sealed in rows
        ]

    def advance(self, number: str, after: State, *, now: int, actor: bytes, why: str = "") -> Case:
        """Take a request one step on.

        Raises:
            OutOfTurnError: it is not at that step.
        """
        with self.database.transaction():
            check_step(self.case(number).state, after)
            self._set(number, after, now, actor, why)
        return self.case(number)

    def extend(self, number: str, *, now: int, actor: bytes, why: str) -> Case:
        """Give a request its second period, once.

        Raises:
            OutOfTurnError: it is not in work, was extended before, or is overdue.
        """
        with self.database.transaction():
            case = self.case(number)
            check_step(case.state, State.EXTENDED)
            if case.is_overdue(now):
                raise OutOfTurnError("request: is overdue; an extension must be told before that")
            due = due_at(
                terms_of(case.kind, case.profile),
                case.received_at,
                extended=True,
                holidays=self._holidays,
            )
            self.database.run("UPDATE requests SET due_at = ? WHERE number = ?", due, number)
            self._set(number, State.EXTENDED, now, actor, why)
        return self.case(number)

    def check_answer(self, number: str, answer: Answer, code: str) -> Case:
        """Return a request that can be answered so.

        Raises:
            OutOfTurnError: it is not far enough.
            UnsupportedParameterError: the code is none of its profile's.
        """
        case = self.case(number)
        check_answer(case.state, answer)
        if answer in NEEDS_CODE:
            terms_of(case.kind, case.profile).refusal(code)
        elif code:
            raise UnsupportedParameterError(f"code: stands with a refusal, not with {answer}")
        return case

    def answer(
        self, number: str, answer: Answer, code: str, *, now: int, actor: bytes, why: str = "",
        certificate: str = "",
    ) -> Case:  # fmt: skip
        """Keep what the person was told; raises as `check_answer`."""
        with self.database.transaction():
            self.check_answer(number, answer, code)
            self.database.run(
                "UPDATE requests SET answer = ?, code = ?, answered_at = ?, certificate = ?"
                " WHERE number = ?",
                answer.value, code, now, certificate, number,
            )  # fmt: skip
            self._set(number, State.ANSWERED, now, actor, why)
        return self.case(number)

    def shred(self, numbers: Iterable[str]) -> None:
        """Destroy what requests say about their person; dates and answers stay."""
        with self.database.transaction():
            for number in numbers:
                row = self.row(number)
                self.database.run("UPDATE requests SET key = NULL, sealed = NULL WHERE id = ?", row)
                self.database.run("UPDATE events SET sealed = NULL WHERE request = ?", row)
                self.database.run("DELETE FROM subjects WHERE request = ?", row)
        self.database.scrub()

    def row(self, number: str) -> int:
        """Return the row of a request."""
        found = self.database.one("SELECT id FROM requests WHERE number = ?", number)
        if found is None:
            raise UnknownCaseError("request: no such number here; run `lianfang audit rights list`")
        return int(str(found[0]))

    def note(self, row: int, now: int, what: str, actor: bytes, why: str) -> None:
        """Add an event; only in a transaction."""
        key, number = self.database.one("SELECT key, number FROM requests WHERE id = ?", row) or (
            None,
            "",
        )
        sealed = None
        if why and isinstance(key, bytes):
            sealed = self.key.seal(key, str(number), why.encode())
        self.database.run(
            "INSERT INTO events (request, at, what, actor, sealed) VALUES (?, ?, ?, ?, ?)",
            row, now, what, actor, sealed,
        )  # fmt: skip

    def _set(self, number: str, state: State, now: int, actor: bytes, why: str) -> None:
        self.database.run("UPDATE requests SET state = ? WHERE number = ?", state.value, number)
        self.note(self.row(number), now, state.value, actor, why)

    def _why(self, key: object, number: str, sealed: object) -> str:
        if not isinstance(key, bytes) or not isinstance(sealed, bytes):
            return ""
        return self.key.open(key, number, sealed).decode()


def _case(row: tuple[Any, ...]) -> Case:
    number, kind, profile, state, received, due, answered, answer, code, certificate, erased = row
    return Case(
        number, Kind(kind), profile, State(state), received, due, answered,
        None if answer is None else Answer(answer), code, certificate, bool(erased),
    )  # fmt: skip
