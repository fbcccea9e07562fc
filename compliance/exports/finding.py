"""What a search of a log looks at and what it finds: entries with their parts, and findings.

A finding is known by the entry with which it begins, so that the same search a day later
finds the same one, longer perhaps. It never says whom an entry is about: the owner's search
for a subject does, which is an act of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from protocols.codec import canonical_json
from protocols.tlog.entry import Entry
from protocols.tlog.private import PrivatePart

_DOMAIN = b"lianfang/exports/finding/v1\x00"
_ID_DIGITS, _GROUP = 12, 4
Who = tuple[str, str]  # organisation, and pseudonym in hexadecimal or nothing


def _nothing() -> PrivatePart | None:
    return None


@dataclass(slots=True)
class Seen:
    """An entry as a search meets it.

    Args:
        log: the origin of its log; empty where only one log is searched.
        read: returns its private part, or None if it is not kept here or was erased; asked
            only if a rule looks at it.
    """

    entry: Entry
    log: str = ""
    read: Callable[[], PrivatePart | None] = field(default=_nothing, repr=False)
    _known: tuple[PrivatePart | None, ...] = field(default=(), repr=False)

    @property
    def part(self) -> PrivatePart | None:
        """The private part, read once."""
        if not self._known:
            self._known = (self.read(),)
        return self._known[0]


@dataclass(slots=True)
class Finding:
    """One thing to look at.

    Args:
        actor: a pseudonym that its organisation alone can resolve; empty if the rule is
            about organisations.
        value: what was reached; limit: what the rule allows.
        first, last: Unix seconds; first_entry, last_entry: indices in the logs of these
            origins.
    """

    rule: str
    organisation: str
    actor: str
    value: float
    limit: float
    first: int
    last: int
    first_entry: int
    last_entry: int
    log: str = ""
    last_log: str = ""

    @property
    def id(self) -> str:
        """The same for the same beginning; twelve digits in groups, which no number has."""
        parts = [self.log, self.first_entry, self.rule, self.organisation, self.actor]
        digits = sha256(_DOMAIN + canonical_json(parts)).hexdigest()[:_ID_DIGITS]
        return "-".join(digits[at : at + _GROUP] for at in range(0, _ID_DIGITS, _GROUP))

    def extend(self, seen: Seen, now: int) -> None:
        """Let it end with this entry."""
        self.last, self.last_entry, self.last_log = now, seen.entry.sequence, seen.log

    def fields(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {"id": self.id} | {name: getattr(self, name) for name in self.__dataclass_fields__}


def begin(rule: str, who: Who, value: float, limit: float, seen: Seen) -> Finding:
    """Return a finding of one entry."""
    at, index, log = seen.entry.time, seen.entry.sequence, seen.log
    return Finding(rule, *who, value, limit, at, at, index, index, log, log)
