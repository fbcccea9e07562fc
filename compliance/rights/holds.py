"""Legal holds: while one stands on a person or on a request, nothing of it is erased.

A hold on a person is a token; it holds whoever asks and under whatever number. It has an end
from the beginning, at most five years away: what must be held longer is laid anew, by
somebody who looks at it again. Its reason names no person.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from compliance.rights.case import Hold, draw_number
from compliance.rights.casefile import CaseFile
from compliance.rights.deadlines import months_after
from compliance.rights.errors import LegalHoldError, UnknownCaseError
from protocols.codec import canonical_json
from protocols.errors import OutOfTurnError, UnsupportedParameterError

MAX_MONTHS = 60
_DAY_S = 86_400
_COLUMNS = "number, owner, begun_at, until, released_at, key, sealed"


class Holds:
    """The holds of one file of requests."""

    def __init__(self, file: CaseFile) -> None:
        self._file = file

    def check(self, *, office: str, reason: str, until: int, now: int) -> None:
        """Refuse a hold without an owner, a reason or an end.

        Raises:
            UnsupportedParameterError: says which.
        """
        if not office or not reason:
            raise UnsupportedParameterError("hold: needs the unit that owns it, and a reason")
        if not now < until <= months_after(now, MAX_MONTHS):
            raise UnsupportedParameterError(
                f"hold: must end after today and within {MAX_MONTHS} months; lay it anew then"
            )

    def lay(
        self,
        targets: Iterable[str],
        *,
        owner: bytes,
        office: str,
        reason: str,
        until: int,
        now: int,
    ) -> list[Hold]:
        """Lay a hold on tokens of a person, or on numbers of requests.

        Raises:
            UnsupportedParameterError: as `check`. UnknownCaseError: no such request.
        """
        self.check(office=office, reason=reason, until=until, now=now)
        database, numbers = self._file.database, []
        with database.transaction():
            for target in targets:
                number = draw_number("H", self._file.random)
                key = self._file.key.new(number)
                text = canonical_json({"office": office, "reason": reason})
                is_token = "/" in target
                database.run(
                    "INSERT INTO holds VALUES (?, ?, ?, ?, ?, ?, NULL, ?, ?)",
                    number, target if is_token else None,
                    None if is_token else self._file.row(target), owner, now, until, key,
                    self._file.key.seal(key, number, text),
                )  # fmt: skip
                numbers.append(number)
        return [self.find(number) for number in numbers]

    def find(self, number: str) -> Hold:
        """Return a hold.

        Raises:
            UnknownCaseError: there is none of this number.
        """
        row = self._file.database.one(f"SELECT {_COLUMNS} FROM holds WHERE number = ?", number)  # noqa: S608  the columns are a constant
        if row is None:
            raise UnknownCaseError("hold: no such number here; run `lianfang audit rights holds`")
        return self._hold(row)

    def all(self) -> list[Hold]:
        """Return every hold, the one that ends first in front."""
        rows = self._file.database.all(f"SELECT {_COLUMNS} FROM holds ORDER BY until, number")  # noqa: S608  the columns are a constant
        return [self._hold(row) for row in rows]

    def release(self, number: str, now: int) -> Hold:
        """End a hold before its time.

        Raises:
            OutOfTurnError: it does not stand any more.
        """
        with self._file.database.transaction():
            if not self.find(number).stands(now):
                raise OutOfTurnError(f"hold {number}: does not stand any more")
            self._file.database.run(
                "UPDATE holds SET released_at = ? WHERE number = ?", now, number
            )
        return self.find(number)

    def standing(self, tokens: Iterable[str], numbers: Iterable[str], now: int) -> list[Hold]:
        """Return the holds that stand on any of these persons or requests."""
        rows: list[Any] = []
        for token in tokens:
            rows += self._file.database.all(
                f"SELECT {_COLUMNS} FROM holds WHERE token = ?",  # noqa: S608  the columns are a constant
                token,
            )
        for number in numbers:
            rows += self._file.database.all(
                f"SELECT {_COLUMNS} FROM holds WHERE request = ?",  # noqa: S608  the columns are a constant
                self._file.row(number),
            )
        return [hold for hold in map(self._hold, rows) if hold.stands(now)]

    def require_none(self, tokens: Iterable[str], numbers: Iterable[str], now: int) -> None:
        """Return only if nothing stands against an erasure.

        Raises:
            LegalHoldError: names the hold that ends last, its end and its reason.
        """
        standing = self.standing(tokens, numbers, now)
        if standing:
            last = max(standing, key=lambda hold: hold.until)
            days = -(-(last.until - now) // _DAY_S)
            raise LegalHoldError(
                f"hold {last.number} of {last.office} stands for {days} more days: {last.reason}; "
                "nothing was erased"
            )

    def forget(self, tokens: Iterable[str], now: int) -> None:
        """Take an erased person out of holds that have ended; only in a transaction."""
        for token in tokens:
            self._file.database.run(
                "DELETE FROM holds WHERE token = ? AND (released_at IS NOT NULL OR until <= ?)",
                token, now,
            )  # fmt: skip

    def _hold(self, row: tuple[Any, ...]) -> Hold:
        number, owner, begun, until, released, key, sealed = row
        text = json.loads(self._file.key.open(key, number, sealed))
        return Hold(number, owner, text["office"], text["reason"], begun, until, released)
