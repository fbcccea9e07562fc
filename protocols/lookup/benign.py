"""Values that many innocent people share: switchboards, hospitals, donation accounts.

Such a value stands in many reports because callers pretend to be its owner, and a light
on it would hit everybody who deals with the owner. The feed refuses to publish it, the
desk says "a shared number of ..." instead of a light. The list is kept in the clear by
whoever reports or asks; it names organisations and never a person, so kinds of identifier
that belong to one person are refused.

Form: `{"format": 1, "version": 3, "entries": [{"kind": "phone", "value": "02-...",
"label": "..."}]}`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from protocols.codec import canonical_json, parse_json
from protocols.errors import MalformedMessageError
from protocols.identifiers import IdentifierKind, InvalidIdentifierError, canonicalize

FORMAT = 1
MAX_VERSION = 2**53 - 1  # what every reader of JSON takes for the same number
MAX_LABEL = 64  # characters
MAX_ENTRIES = 100_000
SHARED_KINDS = frozenset(
    {
        IdentifierKind.PHONE,
        IdentifierKind.BANK_ACCOUNT,
        IdentifierKind.LINE_ID,
        IdentifierKind.EMAIL,
    }
)
_SUBJECT = "benign list"


@dataclass(frozen=True, slots=True)
class BenignEntry:
    """One shared value and what to call its owner."""

    kind: IdentifierKind
    value: str = field(repr=False)
    label: str


@dataclass(frozen=True, slots=True)
class BenignList:
    """A version of the list; `version` grows with every change."""

    version: int
    entries: tuple[BenignEntry, ...]
    _labels: dict[bytes, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        labels: dict[bytes, str] = {}
        for row, entry in enumerate(self.entries, 1):
            canonical = _canonical(entry, f"{_SUBJECT}, entry {row}")
            if canonical in labels:
                raise MalformedMessageError(
                    f"{_SUBJECT}, entry {row}: the value stands there twice"
                )
            labels[canonical] = entry.label
        object.__setattr__(self, "_labels", labels)

    def covers(self, canonical: bytes) -> bool:
        """Report whether an identifier, in canonical form, is a shared value."""
        return canonical in self._labels

    def label(self, canonical: bytes) -> str | None:
        """Return what to call the owner of a shared value, or None if it is not one."""
        return self._labels.get(canonical)

    def format(self) -> bytes:
        """Write the list, the same bytes on every machine."""
        entries = [
            {"kind": entry.kind.value, "value": entry.value, "label": entry.label}
            for entry in self.entries
        ]
        return canonical_json({"format": FORMAT, "version": self.version, "entries": entries})

    @classmethod
    def parse(cls, data: bytes) -> BenignList:
        """Read a list; a defect is told by the number of its entry, from 1, without the value.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        found = parse_json(data, _SUBJECT)
        _require_keys(found, ("format", "version", "entries"), _SUBJECT)
        if type(found["format"]) is not int or found["format"] != FORMAT:
            raise MalformedMessageError(f"{_SUBJECT}: unknown format, expected {FORMAT}")
        version, entries = found["version"], found["entries"]
        if type(version) is not int or not 1 <= version <= MAX_VERSION:
            raise MalformedMessageError(f"{_SUBJECT}: version must be a whole number from 1 on")
        if not isinstance(entries, list) or len(entries) > MAX_ENTRIES:
            raise MalformedMessageError(
                f"{_SUBJECT}: entries must be a list of at most {MAX_ENTRIES}"
            )
        return cls(version, tuple(_read_entries(entries)))


def _read_entries(entries: list[Any]) -> Iterable[BenignEntry]:
    for row, entry in enumerate(entries, 1):
        subject = f"{_SUBJECT}, entry {row}"
        _require_keys(entry, ("kind", "value", "label"), subject)
        if not all(isinstance(text, str) for text in entry.values()):
            raise MalformedMessageError(f"{subject}: kind, value and label must be text")
        try:
            kind = IdentifierKind(entry["kind"])
        except ValueError as error:
            raise MalformedMessageError(f"{subject}: unknown kind") from error
        yield BenignEntry(kind, entry["value"], entry["label"])


def _canonical(entry: BenignEntry, subject: str) -> bytes:
    if entry.kind not in SHARED_KINDS:
        kinds = ", ".join(sorted(SHARED_KINDS))
        raise MalformedMessageError(f"{subject}: kind must be one of {kinds}; others name a person")
    if not 1 <= len(entry.label) <= MAX_LABEL or not entry.label.isprintable():
        raise MalformedMessageError(
            f"{subject}: label must be printable text of 1 to {MAX_LABEL} characters"
        )
    try:
        return canonicalize(entry.kind, entry.value)
    except InvalidIdentifierError as error:
        raise MalformedMessageError(f"{subject}: {error}") from error


def _require_keys(value: object, keys: tuple[str, ...], subject: str) -> None:
    if not isinstance(value, dict) or set(value) != set(keys):
        raise MalformedMessageError(f"{subject}: must be an object of {', '.join(keys)} alone")
