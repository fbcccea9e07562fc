"""What a budget ledger writes: four kinds of entry, as canonical JSON in its journal.

    open      the neighbouring relation of all events; the first entry, and only there
    reserve   a run sets aside an event over its scopes
    charge    a run pays for one release out of what it set aside
    close     a run gives back what it did not pay

The meaning of a written entry never changes, and names are never reused. An entry holds
names of organisations, cohorts, data sets and runs: never anything of a person.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from compliance.errors import LogCorruptError
from protocols.codec import canonical_json, parse_json
from protocols.dp.events import DpEvent, event_fields, event_from_fields
from protocols.dp.neighbours import Neighbours
from protocols.errors import MalformedMessageError, UnsupportedParameterError

EVERY_RECIPIENT = "*"
MAX_NAME = 200


@dataclass(frozen=True, slots=True, order=True)
class Scope:
    """Whose data, which of it, and who learns from it."""

    cohort: str
    dataset: str
    recipient: str

    def __post_init__(self) -> None:
        for name in (self.cohort, self.dataset, self.recipient):
            check_name("scope", name)

    @property
    def over_recipients(self) -> Scope:
        """The scope in which all recipients of the same data add up."""
        return Scope(self.cohort, self.dataset, EVERY_RECIPIENT)


@dataclass(frozen=True, slots=True)
class Opened:
    """The ledger begins."""

    neighbours: Neighbours


@dataclass(frozen=True, slots=True)
class Reserved:
    """A run set aside `event` over `scopes`."""

    run: str
    scopes: tuple[Scope, ...]
    event: DpEvent
    now: int


@dataclass(frozen=True, slots=True)
class Charged:
    """A run paid for a release."""

    run: str
    label: str
    event: DpEvent
    now: int


@dataclass(frozen=True, slots=True)
class Closed:
    """A run ended."""

    run: str
    now: int


Entry = Opened | Reserved | Charged | Closed


def encode_entry(entry: Entry) -> bytes:
    """Write an entry as canonical JSON."""
    match entry:
        case Opened(neighbours):
            return canonical_json({"kind": "open", "neighbours": neighbours.value})
        case Reserved(run, scopes, event, now):
            listed = [[scope.cohort, scope.dataset, scope.recipient] for scope in scopes]
            fields = {"kind": "reserve", "run": run, "scopes": listed, "now": now}
            return canonical_json(fields | {"event": event_fields(event)})
        case Charged(run, label, event, now):
            fields = {"kind": "charge", "run": run, "label": label, "now": now}
            return canonical_json(fields | {"event": event_fields(event)})
        case Closed(run, now):
            return canonical_json({"kind": "close", "run": run, "now": now})


def decode_entry(data: bytes) -> Entry:
    """Read an entry of our own journal.

    Raises:
        LogCorruptError: on anything that `encode_entry` does not write.
    """
    try:
        return _entry(parse_json(data, "ledger entry"))
    except (KeyError, TypeError, ValueError) as error:
        raise LogCorruptError("ledger: an entry lacks a field or has a wrong one") from error
    except (MalformedMessageError, UnsupportedParameterError) as error:
        raise LogCorruptError(f"ledger: an entry cannot be read: {error}") from error


def check_name(subject: str, name: object) -> None:
    """Refuse a name that is no printable text of 1 to 200 characters."""
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise UnsupportedParameterError(
            f"{subject}: a name is not printable text of 1 to {MAX_NAME} characters"
        )


def check_now(now: object) -> None:
    """Refuse a time that is no whole number of seconds."""
    if not isinstance(now, int) or isinstance(now, bool) or now < 0:
        raise UnsupportedParameterError("now: not a whole number of Unix seconds")


def check_entry(entry: Entry) -> None:
    """Refuse an entry that could not be read back."""
    match entry:
        case Opened():
            return
        case Reserved(run, scopes, _event, now):
            if not scopes or len(set(scopes)) != len(scopes):
                raise UnsupportedParameterError("scopes: expected one or more, each once")
            if any(scope.recipient == EVERY_RECIPIENT for scope in scopes):
                raise UnsupportedParameterError("scopes: a run names its recipients one by one")
        case Charged(run, label, _event, now):
            check_name("label", label)
        case Closed(run, now):
            pass
    check_name("run", run)
    check_now(now)


def _entry(value: Any) -> Entry:
    if not isinstance(value, dict):
        raise MalformedMessageError("not an object")
    entry: Entry
    match value["kind"]:
        case "open":
            entry = Opened(Neighbours(value["neighbours"]))
        case "reserve":
            event = event_from_fields(value["event"])
            entry = Reserved(value["run"], _scopes(value["scopes"]), event, value["now"])
        case "charge":
            event = event_from_fields(value["event"])
            entry = Charged(value["run"], value["label"], event, value["now"])
        case "close":
            entry = Closed(value["run"], value["now"])
        case _:
            raise MalformedMessageError("unknown kind")
    check_entry(entry)
    # One spelling only: an unknown field, or another order, is not what we wrote.
    if parse_json(encode_entry(entry), "ledger entry") != value:
        raise MalformedMessageError("unexpected field")
    return entry


def _scopes(value: Iterable[Any]) -> tuple[Scope, ...]:
    return tuple(Scope(*part) for part in value)
