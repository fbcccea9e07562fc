"""The logs that a witness knows, NODE/witness/logs.json: a person pinned the key of each.

A log is pinned by its origin and key. The hub keeps one log a year, `<prefix>/<year>`, under
one key: pinned for every year, a year that begins needs nobody. Each year is a log of its own
to the witness all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from clients.node.files import exclusive, make_private_directory, store_json
from compliance.configuration import ConfigError, check_fields, read_object, typed
from protocols.errors import MalformedMessageError
from protocols.tlog.note import KeyKind, VerifierKey

LOGS = "logs.json"
SILENCE_S = 24 * 3600
_WHERE = "witness/logs.json"
_FIELDS = {"every_year", "key", "pinned_at", "silence_s"}
_KINDS = frozenset({KeyKind.ED25519, KeyKind.SUBTREE})
_YEAR = re.compile(r"(.+)/([1-9][0-9]{3})", re.ASCII)
_MAX_ORIGIN = 200  # bytes


@dataclass(frozen=True, slots=True)
class Pin:
    """One pinned log.

    Args:
        key: as the log's operator gave it; its name is the origin, of some year if of every.
        every_year: whether it stands for the same key under every year.
        silence_s: how long nothing may come before that is an alarm.
        pinned_at: Unix seconds; silence counts from here until something came.
    """

    key: VerifierKey
    every_year: bool
    silence_s: int
    pinned_at: int

    def __post_init__(self) -> None:
        if self.key.kind not in _KINDS:
            raise ConfigError("log: its key is a witness's; ask for the key of the log")
        if len(self.key.name.encode()) > _MAX_ORIGIN:
            raise ConfigError(f"log: a name of more than {_MAX_ORIGIN} bytes; ask for another")
        if self.every_year and not _YEAR.fullmatch(self.key.name):
            raise ConfigError("log: its name ends in no year; pin it as one log")
        if self.silence_s < 1:
            raise ConfigError("log: silence_s must be a second or more; correct it")

    @property
    def name(self) -> str:
        """The origin, or what the origins of all years begin with."""
        found = _YEAR.fullmatch(self.key.name) if self.every_year else None
        return found[1] if found else self.key.name

    def key_of(self, origin: str) -> VerifierKey | None:
        """Return the key of a log if the pin covers it."""
        if not self.every_year:
            return self.key if origin == self.key.name else None
        found = _YEAR.fullmatch(origin)
        if found is None or found[1] != self.name:
            return None
        return VerifierKey(origin, self.key.kind, self.key.public)

    def covers(self, other: Pin) -> bool:
        """Whether the other pin adds nothing to this one."""
        return self.every_year >= other.every_year and self.key_of(other.key.name) == other.key

    def contradicts(self, other: Pin) -> bool:
        """Whether some log has another key of the same kind by the other pin."""
        shared = self.key_of(other.key.name) or other.key_of(self.key.name)
        return (
            shared is not None
            and self.key.kind is other.key.kind
            and self.key.public != other.key.public
        )

    def latest(self, times: Iterable[tuple[str, int]]) -> int:
        """Return when its logs last showed life, out of times by origin."""
        alive = [at for origin, at in times if self.key_of(origin) is not None]
        return max([self.pinned_at, *alive])


class Pins:
    """The pinned logs of one witness, read anew for every use: adding one needs no restart."""

    def __init__(self, folder: Path) -> None:
        self._path = make_private_directory(folder) / LOGS

    def all(self) -> list[Pin]:
        """Return the pins in the order in which they were added.

        Raises:
            ConfigError: names the field, the rule and the cure.
        """
        if not self._path.exists():
            return []
        value = read_object(self._path)
        check_fields(value, {"logs"}, _WHERE)
        return [_parse(item) for item in typed(value, "logs", list, _WHERE)]

    def keys_of(self, origin: str) -> Sequence[VerifierKey] | None:
        """Return the keys of a log, or None if it is not known here."""
        found = [key for pin in self.all() if (key := pin.key_of(origin)) is not None]
        return found or None

    def add(self, pin: Pin) -> bool:
        """Pin a log; tell whether it is new.

        Raises:
            ConfigError: it is pinned with another key.
        """
        with exclusive(self._path.parent):
            pins = self.all()
            if any(known.covers(pin) for known in pins):
                return False
            if any(known.contradicts(pin) for known in pins):
                raise ConfigError(
                    f"{quote(pin.name, safe='/')}: pinned already with another key; if the "
                    f"log's operator changed it, correct {_WHERE} by hand"
                )
            kept = [known for known in pins if not pin.covers(known)]
            store_json(self._path, {"logs": [_fields(item) for item in (*kept, pin)]})
            return True


def _fields(pin: Pin) -> dict[str, Any]:
    return {
        "every_year": pin.every_year,
        "key": pin.key.format(),
        "pinned_at": pin.pinned_at,
        "silence_s": pin.silence_s,
    }


def _parse(value: object) -> Pin:
    if not isinstance(value, dict):
        raise ConfigError(f"{_WHERE}: logs must be a list of objects; correct it")
    check_fields(value, _FIELDS, _WHERE)
    if type(value["every_year"]) is not bool:
        raise ConfigError(f"{_WHERE}: every_year must be true or false; correct it")
    return Pin(
        key=parse_log_key(typed(value, "key", str, _WHERE)),
        every_year=value["every_year"],
        silence_s=typed(value, "silence_s", int, _WHERE),
        pinned_at=typed(value, "pinned_at", int, _WHERE),
    )


def parse_log_key(text: str) -> VerifierKey:
    """Read a verifier key that a person copied.

    Raises:
        ConfigError: it is none.
    """
    try:
        return VerifierKey.parse(text.strip())
    except MalformedMessageError as error:
        raise ConfigError(f"key of the log: {error}; copy the whole line") from error


def names_a_year(key: VerifierKey) -> bool:
    """Whether a key is that of the log of one year."""
    return _YEAR.fullmatch(key.name) is not None
