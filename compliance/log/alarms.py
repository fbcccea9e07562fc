"""Alarms about a log: fork, rollback, silence; kept with the evidence until a person closes them.

Whoever watches a log keeps one folder: `alarms.journal`, which is only ever appended to, and
`evidence/`, the bytes that others are to judge by, each file named by its own hash. Evidence
is durable before the alarm that names it. An alarm is raised once: the same log, size and
root again adds nothing, so that whoever repeats an old request fills no disk.

An alarm names logs and witnesses, never a person. Threads and processes may share a folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any

from compliance.errors import ComplianceError, LogCorruptError
from compliance.files import DIRECTORY_MODE, write_atomically
from compliance.journal import Journal
from protocols.codec import canonical_json, parse_json
from protocols.errors import MalformedMessageError

MAX_OPEN = 64  # of one kind and log; by then somebody must look in any case
_NAME_SIZE = 32


class UnknownAlarmError(ComplianceError):
    """No open alarm has this number."""

    code = "unknown_alarm"


class AlarmKind(StrEnum):
    """What an alarm is about."""

    FORK = "fork"  # the log signed two contradicting trees: the evidence proves it
    INCONSISTENT = "inconsistent"  # no proof that a signed tree extends the one before
    ROLLBACK = "rollback"  # the log shows less than was cosigned
    SILENCE = "silence"  # nothing came for longer than agreed


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm.

    Args:
        log: the origin; for silence, what was pinned.
        witness: who says so, where it is not the one that keeps the alarm.
        size, root: of the checkpoint that gave rise to it.
        text: for people.
    """

    kind: AlarmKind
    at: int
    log: str
    text: str
    size: int = 0
    root: bytes = b""
    witness: str = ""

    @property
    def same(self) -> tuple[str, ...]:
        """What makes two alarms one."""
        return self.kind, self.log, self.witness, str(self.size), self.root.hex()


@dataclass(frozen=True, slots=True)
class Raised:
    """An alarm as it is kept.

    Args:
        number: from 1, in the order in which they were raised.
        evidence: names of files in `evidence/`.
        closed_at: Unix seconds, or None while it is open; `reason`, why it was closed.
    """

    number: int
    alarm: Alarm
    evidence: tuple[str, ...]
    closed_at: int | None = None
    reason: str = ""

    @property
    def is_open(self) -> bool:
        """Whether nobody has closed it."""
        return self.closed_at is None


class LogAlarms:
    """The alarms in one folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        self._evidence = folder / "evidence"
        self._journal = Journal(folder / "alarms.journal")
        self._raised: list[Raised] = []

    def close(self) -> None:
        """Give the file back."""
        self._journal.close()

    def raise_alarm(self, alarm: Alarm, evidence: Mapping[str, bytes] | None = None) -> bool:
        """Keep an alarm, durably, unless it is known; tell whether it is new.

        Args:
            evidence: bytes by the ending of their file's name, such as `request`.

        Raises:
            LogCorruptError: the journal is damaged.
            OSError: it cannot be written.
        """
        files = {_file_name(data, ending): data for ending, data in (evidence or {}).items()}
        with self._journal.exclusive() as records:
            self._take_in(records)
            if self._is_known(alarm):
                return False
            for name, data in files.items():
                write_atomically(self._evidence / name, data)
            fields = {
                "alarm": alarm.kind,
                "at": alarm.at,
                "evidence": sorted(files),
                "log": alarm.log,
                "root": alarm.root.hex(),
                "size": str(alarm.size),
                "text": alarm.text,
                "witness": alarm.witness,
            }
            self._append(fields)
            return True

    def close_alarm(self, number: int, *, at: int, reason: str) -> Alarm:
        """Close an open alarm, durably.

        Raises:
            UnknownAlarmError: none of this number is open.
        """
        with self._journal.exclusive() as records:
            self._take_in(records)
            if not 1 <= number <= len(self._raised) or not self._raised[number - 1].is_open:
                raise UnknownAlarmError(f"alarm {number}: none of this number is open")
            self._append({"at": at, "close": number, "reason": reason})
            return self._raised[number - 1].alarm

    def all(self) -> list[Raised]:
        """Return all alarms, oldest first, closed ones included."""
        with self._journal.exclusive() as records:
            self._take_in(records)
            return list(self._raised)

    def open(self) -> list[Raised]:
        """Return the open alarms, oldest first."""
        return [raised for raised in self.all() if raised.is_open]

    def _is_known(self, alarm: Alarm) -> bool:
        # Silence may come again; what a log once signed stays judged.
        lasting = alarm.kind is not AlarmKind.SILENCE
        alike = [found for found in self._raised if found.alarm.same == alarm.same]
        if any(found.is_open or lasting for found in alike):
            return True
        crowd = [
            found
            for found in self._raised
            if found.is_open and (found.alarm.kind, found.alarm.log) == (alarm.kind, alarm.log)
        ]
        return len(crowd) >= MAX_OPEN

    def _append(self, fields: dict[str, Any]) -> None:
        record = canonical_json(fields)
        self._journal.append(record)
        self._take_in([record])

    def _take_in(self, records: list[bytes]) -> None:
        for record in records:
            try:
                fields = parse_json(record, "alarm")
                if "close" in fields:
                    at = int(fields["close"]) - 1
                    self._raised[at] = replace(
                        self._raised[at], closed_at=fields["at"], reason=fields["reason"]
                    )
                else:
                    self._raised.append(_raised(len(self._raised) + 1, fields))
            except (MalformedMessageError, KeyError, TypeError, ValueError, IndexError) as error:
                raise LogCorruptError("alarms: a record is no alarm") from error


def _raised(number: int, fields: dict[str, Any]) -> Raised:
    alarm = Alarm(
        kind=AlarmKind(fields["alarm"]),
        at=fields["at"],
        log=fields["log"],
        text=fields["text"],
        size=int(fields["size"]),
        root=bytes.fromhex(fields["root"]),
        witness=fields["witness"],
    )
    return Raised(number, alarm, tuple(fields["evidence"]))


def _file_name(data: bytes, ending: str) -> str:
    return f"{sha256(data).hexdigest()[:_NAME_SIZE]}.{ending}"
