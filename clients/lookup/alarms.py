"""What a person must look at: kept durably, told by `status`, never shown as a light.

An alarm says what happened, when, and under which request; it names no person. Whoever
handles it finds the request through the node's own sealed queries.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from clients.node.files import make_private_directory
from clients.node.home import Home
from compliance.errors import LogCorruptError
from compliance.journal import Journal
from protocols.codec import canonical_json, parse_json
from protocols.errors import MalformedMessageError

ALARMS = "lookup/alarms.journal"


class AlarmKind(StrEnum):
    """What an alarm is about."""

    CANARY = "canary"  # an identifier was asked for that belongs to nobody
    DENSE_RANGE = "dense_range"  # numbers were asked for that lie side by side
    FORKED_EPOCH = "forked_epoch"  # a second manifest for one epoch
    FORKED_TABLE = "forked_table"  # a contributor signed two tables for one version
    UNLOGGED_EPOCH = "unlogged_epoch"  # what was to show that an epoch is logged does not hold
    LOG_KEY = "log_key"  # the hub names another key for its log
    FORKED_LOG = "forked_log"  # the hub shows another history of its log
    SHORTER_LOG = "shorter_log"  # the hub shows less of its log than before


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm; `text` is for people and holds no identifier of a person."""

    kind: AlarmKind
    at: int
    subject: str
    text: str


class Alarms:
    """The alarms of one node, in one journal."""

    def __init__(self, path: Path) -> None:
        make_private_directory(path.parent)
        self._journal = Journal(path)
        self._seen: list[Alarm] = []

    def close(self) -> None:
        """Give the file back."""
        self._journal.close()

    def raise_alarm(self, alarm: Alarm) -> None:
        """Keep an alarm; durable when this returns."""
        fields = {"kind": alarm.kind, "at": alarm.at, "subject": alarm.subject, "text": alarm.text}
        with self._journal.exclusive() as records:
            self._seen += [_parse(record) for record in records]
            self._journal.append(canonical_json(fields))
            self._seen.append(alarm)

    def all(self) -> list[Alarm]:
        """Return every alarm so far, oldest first."""
        with self._journal.exclusive() as records:
            self._seen += [_parse(record) for record in records]
        return list(self._seen)


def raise_once(home: Home, alarm: Alarm) -> bool:
    """Keep an alarm of a node unless it has the same already; tell whether it is new."""
    alarms = Alarms(home.root / ALARMS)
    try:
        same = (alarm.kind, alarm.subject, alarm.text)
        if any((known.kind, known.subject, known.text) == same for known in alarms.all()):
            return False
        alarms.raise_alarm(alarm)
        return True
    finally:
        alarms.close()


def _parse(record: bytes) -> Alarm:
    try:
        value: dict[str, Any] = parse_json(record, "alarm")
        return Alarm(AlarmKind(value["kind"]), value["at"], value["subject"], value["text"])
    except (MalformedMessageError, KeyError, TypeError, ValueError) as error:
        raise LogCorruptError("alarms: a record is no alarm") from error
