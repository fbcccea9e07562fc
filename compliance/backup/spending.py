"""What a restored ledger has forgotten is charged again: a restore never gives budget back.

    run open in the backup     counts as spent in full, at once: what it paid after the backup
                               is not known, and it cannot go on
    run that came after it     its charges are taken from the hub's log, or else its whole plan

Caps are not asked: what was released was released.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from compliance.entries import (
    Charged,
    Closed,
    Entry,
    Opened,
    Reserved,
    Scope,
    check_entry,
    decode_entry,
    encode_entry,
)
from compliance.errors import BudgetExhaustedError
from compliance.journal import Journal
from compliance.ledger import Ledger
from compliance.spending import Tally, event_of, tally
from protocols.dp.events import DpEvent

LABEL = "restored/rest"


def spend_open_runs(path: Path, now: int) -> tuple[str, ...]:
    """Charge every open run for all that it had set aside, and close it; return their names."""
    if not path.exists():
        return ()
    with closing(Ledger(path, {})) as ledger:
        found = ledger.open_runs()
        for name, run in found.items():
            rest = run.reserved - run.charged
            if rest:
                try:
                    ledger.charge(name, LABEL, event_of(rest), now)
                except BudgetExhaustedError:
                    # It paid in another coin than it set aside: open, it holds all of that.
                    continue
            ledger.close_run(name, now)
    return tuple(sorted(found))


def closed_runs(path: Path) -> frozenset[str]:
    """Return the runs that a ledger knows to the end."""
    if not path.exists():
        return frozenset()
    with _entries(path) as (entries, _):
        return frozenset(entry.run for entry in entries if isinstance(entry, Closed))


def recover_run(
    path: Path, run: str, scopes: Iterable[Scope], events: Iterable[DpEvent], now: int
) -> bool:
    """Enter what a run has spent that the ledger does not know; False if it does.

    All of it is one run, reserved, paid and closed. What a crash cut short is finished.
    """
    listed, paid = tuple(scopes), tuple(events)
    total = event_of(_sum(paid))
    wanted: list[Entry] = [
        Reserved(run, listed, total, now),
        Charged(run, LABEL, total, now),
        Closed(run, now),
    ]
    for entry in wanted:
        check_entry(entry)
    with _entries(path) as (entries, journal):
        there = [entry for entry in entries if not isinstance(entry, Opened) and entry.run == run]
        if there and not _is_begun(there, wanted):
            return False
        if not entries:
            raise ValueError("ledger: not begun; open it first")
        for entry in wanted[len(there) :]:
            journal.append(encode_entry(entry))
        return len(there) < len(wanted)


def _is_begun(there: Sequence[Entry], wanted: Sequence[Entry]) -> bool:
    """Whether this is the beginning of what a recovery writes, whenever that began."""
    return all(
        type(found) is type(entry)
        and getattr(found, "event", None) == getattr(entry, "event", None)
        for found, entry in zip(there, wanted, strict=False)
    ) and len(there) <= len(wanted)


def _sum(events: Iterable[DpEvent]) -> Tally:
    total: Tally = Tally()
    for event in events:
        total += tally(event)
    return total


@contextmanager
def _entries(path: Path) -> Iterator[tuple[list[Entry], Journal]]:
    with closing(Journal(path)) as journal, journal.exclusive() as records:
        yield [decode_entry(record) for record in records], journal
