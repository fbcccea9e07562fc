"""What the desk itself notes of every check, cached ones included.

A check of a cached customer asks no holder, so no holder's book knows of it. The desk's own
journal does: when, under which purpose, channel and case, which colour was shown, and under
which requests the holders have it. It holds no identifier; its numbers are what a clerk
writes on the slip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clients.node.files import make_private_directory
from compliance.errors import LogCorruptError
from compliance.journal import Journal
from protocols.codec import canonical_json, parse_json
from protocols.errors import MalformedMessageError


@dataclass(frozen=True, slots=True)
class CheckEntry:
    """One check.

    Attributes:
        kinds: what kinds of identifiers were asked for, in order.
        requests: numbers of the requests that the holders answered for it, hexadecimal.
        colour: empty for a shared number, which has no light.
    """

    at: int
    purpose: str
    channel: str
    case: str = field(repr=False)
    kinds: Sequence[str]
    requests: Sequence[str]
    colour: str
    reasons: Sequence[str]


class CheckJournal:
    """The journal of one desk."""

    def __init__(self, root: Path) -> None:
        folder = make_private_directory(root / "desk")
        self._journal = Journal(folder / "checks.journal")
        self._count = 0

    def close(self) -> None:
        """Give the file back."""
        self._journal.close()

    def append(self, entry: CheckEntry) -> int:
        """Note a check, durably, before its light is shown; returns its number, from 1."""
        fields = {name: getattr(entry, name) for name in CheckEntry.__slots__}
        with self._journal.exclusive() as records:
            self._count += len(records)
            self._journal.append(canonical_json(fields))
            self._count += 1
            return self._count

    @classmethod
    def entries(cls, root: Path) -> list[CheckEntry]:
        """Return all checks, oldest first."""
        journal = cls(root)
        try:
            with journal._journal.exclusive() as records:
                return [_parse(record) for record in records]
        finally:
            journal.close()


def _parse(record: bytes) -> CheckEntry:
    try:
        value = parse_json(record, "check")
        return CheckEntry(**{name: value[name] for name in CheckEntry.__slots__})
    except (MalformedMessageError, KeyError, TypeError) as error:
        raise LogCorruptError("checks: a record is no check") from error
