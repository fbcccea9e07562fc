"""`lianfang audit reconcile`: does the hub's log say what this node's own books say?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clients.audit.cli_options import Since, Until, format_time, parse_time
from clients.output import CommandError
from compliance.commands.output import EXIT_REFUSED, Format, Formatted, say

if TYPE_CHECKING:
    from clients.audit.reconciling import Budget, Compared, Period, Row
    from clients.node.home import Home
    from compliance.entries import Entry as LedgerEntry
    from compliance.evaluations.book import BookEntry
    from compliance.evaluations.evidence import Evidence
    from protocols.tlog.entry import Entry

_DELTA = 1e-5
_TOLERANCE_S = 3_600
_SHOWN = 20
_MAX_EVIDENCE = 1 << 30


@dataclass(slots=True)
class _Logs:
    """What the comparison needs of the logs given, verified."""

    entries: list[Entry] = field(default_factory=list)
    years: list[int] = field(default_factory=list)
    end: int = 0


def reconcile(
    node: Annotated[Path, typer.Argument(metavar="NODE", help="The node's directory.")],
    logs: Annotated[
        list[Path], typer.Argument(metavar="LOG...", help="Copies of the hub's logs, whole.")
    ],
    evidence: Annotated[
        list[Path] | None,
        typer.Option(help="The evidence of another holder, JSON; one option for each file."),
    ] = None,
    tolerance: Annotated[
        int, typer.Option(min=0, help="Seconds by which the clocks may differ.")
    ] = _TOLERANCE_S,
    since: Since = "",
    until: Until = "",
    delta: Annotated[float, typer.Option(help="At which epsilon is told.")] = _DELTA,
    output: Formatted = Format.TEXT,
) -> None:
    """Compare a holder's book and the ledger with the hub's log; ends with 3 on a finding."""
    from clients.audit.reconciling import Period, compare_books, compare_budgets, requests_of
    from clients.node.home import Home

    home = Home(node)
    name = home.config().name
    found = _read_logs(home, logs, shown=output is Format.TEXT)
    begin = int(datetime(min(found.years), 1, 1, tzinfo=UTC).timestamp())
    period = Period(
        parse_time(since, "--since") if since else begin,
        parse_time(until, "--until") if until else found.end,
    )
    book = _book(home)
    papers = [_evidence(path, name) for path in evidence or ()]
    compared = compare_books(
        requests_of(book or (), papers), found.entries, period, tolerance_s=tolerance
    )
    budgets, running = compare_budgets(_ledger(home), found.entries, name, delta=delta)
    value = _value(compared, period) | {
        "holder": book is not None,
        "budgets": [_budget_value(item) for item in budgets],
        "open_runs": list(running),
        "delta": delta,
    }
    is_finding = bool(compared.missing) or any(item.is_finding for item in budgets)
    lines = [*_book_lines(compared, period, is_holder=book is not None)]
    lines += _budget_lines(budgets, running, delta)
    following = (
        "keep the logs and the book, and ask the hub's operator for the private part of each"
        if is_finding
        else f"lianfang audit statement {logs[0]}"
    )
    say(output, value | {"agrees": not is_finding}, "\n".join(lines), following)
    if is_finding:
        raise typer.Exit(EXIT_REFUSED)


def _read_logs(home: Home, paths: list[Path], *, shown: bool) -> _Logs:
    """Verify the logs under the pinned key or the officer's policy, and read what is compared."""
    from clients.lookup.logged import LogPin
    from clients.lookup.trust import Trust
    from compliance.clock import SystemClock
    from compliance.configuration import ConfigError
    from compliance.exports.check import check_export
    from compliance.exports.source import open_source
    from compliance.progress import progress_bar
    from protocols.tlog.logkey import split_year

    pin, now = LogPin(home, Trust(home).hub_identity), SystemClock().now()
    pinned = pin.pinned()
    if pinned is None:
        raise ConfigError("log: no key of the hub's log is pinned; run `lianfang audit fetch`")
    found, origins = _Logs(), set[str]()
    for path in paths:
        with open_source(path) as source, progress_bar("verify", shown=shown) as progress:
            origin = source.checkpoint().origin
            if origin in origins:
                raise ConfigError(f"{path.name}: is {origin} as well; give each log once")
            origins.add(origin)
            checked = check_export(source, pin.policy_of(origin, pinned, now), progress=progress)
            if not checked.is_whole or checked.is_selection:
                fault = checked.fault or "a selection; give the whole log"
                raise CommandError(f"{path.name} does not hold: {fault}")
            found.years.append(int(split_year(origin)[1]))
            found.end = max(found.end, *checked.report.cosigned.values(), 0)
            for entry in source.entries():
                found.end = max(found.end, entry.time)
                if entry.act == "evaluate" or entry.charge is not None:
                    found.entries.append(entry)
    return found


def _book(home: Home) -> list[BookEntry] | None:
    """Return what this node's key holder has admitted; None if it is no holder."""
    from compliance.errors import LogCorruptError
    from compliance.evaluations.book import BOOK, BookEntry
    from protocols.errors import MalformedMessageError

    path = home.root / "holder" / BOOK
    if not path.exists():
        return None
    with _records(path) as records:
        try:
            return [BookEntry.decode(record) for record in records]
        except MalformedMessageError as error:
            raise LogCorruptError(f"book: an entry cannot be read: {error}") from error


def _ledger(home: Home) -> list[LedgerEntry]:
    from compliance.entries import decode_entry

    path = home.root / "ledger" / "budget.journal"
    if not path.exists():
        return []
    with _records(path) as records:
        return [decode_entry(record) for record in records]


@contextmanager
def _records(path: Path) -> Iterator[list[bytes]]:
    from compliance.journal import Journal

    journal = Journal(path)
    try:
        with journal.exclusive() as records:
            yield records
    finally:
        journal.close()


def _evidence(path: Path, name: str) -> Evidence:
    from compliance.configuration import ConfigError
    from compliance.evaluations.evidence import Evidence

    try:
        with path.open("rb") as file:
            found = Evidence.parse(file.read(_MAX_EVIDENCE))
    except OSError as error:
        raise ConfigError(f"{path.name}: cannot be read; correct the path") from error
    if found.holder == name:
        raise ConfigError(f"{path.name}: is of {name} itself; give that of other holders")
    return found


def _value(compared: Compared, period: Period) -> dict[str, Any]:
    return {
        "since": period.since,
        "until": period.until,
        "days": [_row_value(row) for row in compared.rows],
        "missing": [
            {
                "asker": item.asker,
                "epoch": item.epoch,
                "purpose": item.purpose.value,
                "count": item.count,
                "at": item.at,
            }
            for item in compared.missing
        ],
        "open": compared.open,
        "elsewhere": compared.elsewhere,
    }


def _row_value(row: Row) -> dict[str, Any]:
    counts = {"book": row.book, "log": row.log, "late": row.late, "missing": row.missing}
    return {"day": row.day, "asker": row.asker, "purpose": row.purpose} | {
        name: {"requests": requests, "elements": elements}
        for name, (requests, elements) in counts.items()
    }


def _budget_value(item: Budget) -> dict[str, Any]:
    return {
        "cohort": item.scope.cohort,
        "dataset": item.scope.dataset,
        "recipient": item.scope.recipient,
        "ledger": item.ledger,
        "log": item.log,
        "runs": list(item.runs),
    }


def _book_lines(compared: Compared, period: Period, *, is_holder: bool) -> list[str]:
    if not is_holder and not compared.rows:
        return ["This node is no key holder: there is no book to compare."]
    when = f"{format_time(period.since)} to {format_time(period.until)}"
    lines = [f"Evaluations, {when}: requests/elements in the book, in the hub's log."]
    lines += [
        f"  {row.day}  {row.asker} {row.purpose}: {_cell(row.book)}, {_cell(row.log)}"
        + (f", {_cell(row.late)} at another time" if row.late[0] else "")
        + (f", {_cell(row.missing)} MISSING" if row.missing[0] else "")
        for row in compared.rows
    ]
    lines += [
        f"NOT IN THE HUB'S LOG: {item.asker}, {item.count} for {item.purpose} in epoch "
        f"{item.epoch} at {format_time(item.at)}"
        for item in compared.missing[:_SHOWN]
    ]
    if len(compared.missing) > _SHOWN:
        lines.append(f"and {len(compared.missing) - _SHOWN} more")
    if compared.open:
        lines.append(
            f"{compared.open} requests are later than the log: fetch it again, or say --until if "
            "the hub had time enough to enter them."
        )
    if not compared.missing:
        lines.append(
            f"Everything in the book stands in the hub's log; {compared.elsewhere} entries more "
            "are of requests that other holders answered."
        )
    return lines


def _budget_lines(budgets: list[Budget], running: tuple[str, ...], delta: float) -> list[str]:
    from compliance.exports.statement import recipient_text

    lines = []
    for item in budgets:
        scope = f"{item.scope.cohort}/{item.scope.dataset} to {recipient_text(item.scope)}"
        line = f"{scope}: epsilon {item.ledger:.4f} in the ledger, {item.log:.4f} in the log"
        if item.is_finding:
            line += f"  DIFFERENT in {', '.join(item.runs)}"
        lines.append(f"{line} (delta {delta:g})")
    lines += [f"{run}: still open in the ledger, not judged" for run in running]
    return lines or ["Nothing was charged, in the ledger or in the log."]


def _cell(counts: list[int]) -> str:
    return f"{counts[0]:,}/{counts[1]:,}"
