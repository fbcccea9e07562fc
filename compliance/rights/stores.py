"""What holds data about persons: each store of an owner finds and erases one person's.

A store is asked with both forms of the person: canonical identifiers, because most stores
know people by keyed hashes of those, and the owner's tokens, by which entries know them.

Contract of `erase`: when it returns, nothing in the store's files says anything about the
person, and other persons' data say what they said before. It may be killed anywhere and called
again; what is erased already is not counted twice. Where something must be done first, as
publishing a withdrawal, it does what it can and raises `StoreWaitsError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from compliance.agreement.vocabulary import Title


@dataclass(frozen=True, slots=True)
class Subject:
    """The person, as stores look for it."""

    canonical: tuple[bytes, ...] = field(repr=False)
    tokens: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a store says about the person, in words for the person.

    Args:
        at: Unix seconds, None where the store does not know.
        facts: what is said, under its names in both languages.
    """

    at: int | None
    facts: Mapping[Title, str] = field(repr=False)


class SubjectRecords(Protocol):
    """Something that holds data about persons, and of which they are told."""

    @property
    def name(self) -> str:
        """A stable name such as `desk/queries`."""
        ...

    @property
    def what(self) -> Title:
        """What kind of data it holds."""
        ...

    def find(self, subject: Subject) -> list[Finding]:
        """Return all that it holds about the person."""
        ...


class SubjectStore(SubjectRecords, Protocol):
    """One store from which persons are erased; see the module for what it promises."""

    @property
    def method(self) -> Title:
        """How it erases."""
        ...

    def erase(self, subject: Subject) -> int:
        """Erase all that `find` returns; returns how many things. Raises `StoreWaitsError`."""
        ...
