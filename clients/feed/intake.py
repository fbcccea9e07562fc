"""From a file to the register: read, judge row by row, enter what is good.

One file is one transaction: a process that is killed while it reads leaves the register as
it was. The same file given twice changes nothing the second time.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from clients.feed.columns import csv_rows, parquet_rows, read_text
from clients.feed.defects import Refusal
from clients.feed.entries import last_month
from clients.feed.home import Settings
from clients.feed.permitting import Enter
from clients.feed.register import Actor, Effect, Register
from clients.feed.reports import Defaults, Report, read_report
from protocols.errors import InvalidTableError, OutOfTurnError
from protocols.lookup.benign import BenignList
from protocols.lookup.payload import month_of

Rows = Iterator[tuple[int, list[Report] | list[Refusal]]]


@dataclass(frozen=True, slots=True)
class Input:
    """A file that is about to be read, row by row."""

    rows: Rows
    note: str = ""


@dataclass(slots=True)
class Intake:
    """What a file did: reports by effect, and every defect of the rows that were refused."""

    note: str
    effects: Counter[Effect] = field(default_factory=Counter)
    refusals: list[Refusal] = field(default_factory=list)

    @property
    def refused_rows(self) -> int:
        """Count the rows with a defect."""
        return len({refusal.row for refusal in self.refusals})

    @property
    def accepted(self) -> int:
        """Count the reports that were good, known ones included."""
        return self.effects.total()


def open_input(path: Path, defaults: Defaults) -> Input:
    """Tell a file's form by its ending and open it.

    Raises:
        InvalidTableError: it cannot be read as what it says it is.
    """
    try:
        match path.suffix.lower():
            case ".csv":
                text, note = read_text(path.read_bytes())
                return Input(_reports(csv_rows(text), defaults), note)
            case ".json" | ".stix":
                from clients.feed.stix import stix_rows  # noqa: PLC0415  slow, and few need it

                return Input(stix_rows(path.read_bytes(), defaults))
            case ".parquet":
                return Input(_reports(parquet_rows(path), defaults))
    except OSError:
        raise InvalidTableError("file: cannot be read; correct the path or its mode") from None
    raise InvalidTableError("file: give one ending in .csv, .json (STIX 2.1) or .parquet")


def take_in(
    register: Register,
    source: Input,
    settings: Settings,
    benign: BenignList | None,
    actor: Actor,
    *,
    enter: Enter,
    keep: bool = True,
) -> Intake:
    """Enter every good report of a file in one transaction.

    Args:
        enter: enters into the log how many reports come in, before any stands here.
        keep: without it everything is tried and nothing is kept.
    """
    intake = Intake(source.note)
    judge = _Judge(register, settings, benign, actor)
    with register.transaction(keep=keep):
        for row, found in source.rows:
            for one in found:
                effect = one if isinstance(one, Refusal) else judge.enter(row, one)
                if isinstance(effect, Refusal):
                    intake.refusals.append(effect)
                else:
                    intake.effects[effect] += 1
        register.store_refusals(intake.refusals)
        summary = {"at": actor.now, "accepted": intake.accepted, "refused": intake.refused_rows}
        register.set_meta("input", json.dumps(summary).encode())
        if keep and intake.accepted:
            enter(intake.accepted)
    return intake


class _Judge:
    """Enters the reports of one file."""

    def __init__(
        self, register: Register, settings: Settings, benign: BenignList | None, actor: Actor
    ) -> None:
        self._register = register
        self._settings = settings
        self._benign = benign
        self._actor = actor
        self._month = month_of(actor.now)
        self._seen: dict[bytes, int] = {}

    def enter(self, row: int, report: Report) -> Effect | Refusal:
        """Enter one report, or say why not."""
        if self._benign is not None and self._benign.covers(report.canonical):
            return Refusal(
                row, "value", "is on the list of numbers that many people share",
                "leave it out; whoever deals with its owner would be marked",
            )  # fmt: skip
        months = self._settings.retention[report.category]
        expires = last_month(report.last, months, report.until)
        if expires < self._month:
            return Refusal(row, "last", "is past the retention of its category", "leave it out")
        # Two rows that contradict each other would change the entry to and fro each night.
        said, token = hash(report), self._register.token(report)
        if self._seen.setdefault(token, said) != said:
            return Refusal(
                row, "report_id", "an earlier row says otherwise of the same identifier",
                "keep one row for each report and identifier",
            )  # fmt: skip
        try:
            return self._register.enter(report, expires, self._actor)
        except OutOfTurnError as error:
            return Refusal(
                row, "status", str(error),
                "leave status empty to keep it, or report anew under another number",
            )  # fmt: skip


def _reports(rows: Iterator[tuple[int, dict[str, str] | Refusal]], defaults: Defaults) -> Rows:
    for row, fields in rows:
        if isinstance(fields, Refusal):
            yield row, [fields]
            continue
        found = read_report(row, fields, defaults)
        yield row, [found] if isinstance(found, Report) else found
