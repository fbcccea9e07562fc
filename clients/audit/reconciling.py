"""Holding the hub's log against what this node knows itself: its holder's book, its ledger.

The hub evaluates together with the other holders and enters every evaluation before its
answer leaves. So a request in a holder's book without an entry in the hub's log is one that
the hub hid. The log has no digest of a request: asker, epoch, purpose, count and time are
compared, as multisets. An entry that the book lacks is no finding, since any threshold of
holders answers; with the evidence of the other holders the comparison becomes exact.

The other way round for the budget: each owner's releases stand in its own ledger and, by the
hub's entry at the end of a run, in the log. Both must say the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from compliance.entries import Charged, Closed, Opened, Reserved, Scope
from compliance.entries import Entry as LedgerEntry
from compliance.evaluations.book import BookEntry
from compliance.evaluations.evidence import Evidence
from compliance.spending import Tally, price, tally
from protocols.dp.neighbours import Neighbours
from protocols.lookup.request import Purpose
from protocols.tlog.entry import Entry, Outcome

TOLERANCE_S = 3_600
# The hub enters while holders are at work: at the very end of a log an entry may be missing.
MARGIN_S = 60
_LARGEST_NUMBER = 10**8  # epochs beyond are not named in entries
_EVALUATE = "evaluate"


@dataclass(frozen=True, slots=True)
class Period:
    """The time that is judged, Unix seconds."""

    since: int
    until: int


@dataclass(frozen=True, slots=True)
class Request:
    """One request as a holder's book has it."""

    asker: str
    epoch: int
    purpose: Purpose
    count: int
    at: int

    @property
    def key(self) -> tuple[str, str, int]:
        """What the hub's entry about it says: asker, subject matter, count."""
        epoch = f"epoch-{self.epoch}" if self.epoch < _LARGEST_NUMBER else "epoch"
        return self.asker, f"{epoch}/{self.purpose.replace('_', '-')}", self.count


@dataclass(slots=True)
class Row:
    """What one asker had evaluated for one purpose on one day, as (requests, elements).

    Args:
        late: in the log at another time than the tolerance allows.
        missing: nowhere in the log: the finding.
    """

    day: str
    asker: str
    purpose: str
    book: list[int] = field(default_factory=lambda: [0, 0])
    log: list[int] = field(default_factory=lambda: [0, 0])
    late: list[int] = field(default_factory=lambda: [0, 0])
    missing: list[int] = field(default_factory=lambda: [0, 0])


@dataclass(frozen=True, slots=True)
class Compared:
    """The book against the log.

    Args:
        rows: by day, asker and purpose.
        missing: requests that the hub's log does not have.
        open: requests after the end of the log, not judged.
        elsewhere: entries of the log without a request here; other holders have those.
    """

    rows: tuple[Row, ...]
    missing: tuple[Request, ...]
    open: int
    elsewhere: int


@dataclass(frozen=True, slots=True)
class Budget:
    """One scope, as the own ledger and as the hub's log have it."""

    scope: Scope
    ledger: float
    log: float
    runs: tuple[str, ...]

    @property
    def is_finding(self) -> bool:
        """Whether some run is not the same in both."""
        return bool(self.runs)


def requests_of(
    book: Iterable[BookEntry], evidence: Iterable[Evidence] = ()
) -> tuple[Request, ...]:
    """Return every request that any of the books has, once, at its earliest time."""
    found: dict[tuple[str, int, bytes], Request] = {}

    def add(request: Request, request_id: bytes) -> None:
        key = (request.asker, request.epoch, request_id)
        known = found.get(key)
        if known is None or request.at < known.at:
            found[key] = request

    for entry in book:
        add(
            Request(entry.asker, entry.epoch, entry.purpose, entry.count, entry.at),
            entry.request_id,
        )
    for paper in evidence:
        for item in paper.entries:
            add(
                Request(paper.asker, paper.epoch, item.purpose, item.count, item.at),
                item.request_id,
            )
    return tuple(sorted(found.values(), key=lambda request: request.at))


def compare_books(
    requests: Sequence[Request],
    entries: Iterable[Entry],
    period: Period,
    *,
    tolerance_s: int = TOLERANCE_S,
) -> Compared:
    """Find the requests of the books that the hub's log does not have.

    Args:
        tolerance_s: by how much the clocks of hub and holder, and a repeated request, may
            lie apart.
    """
    rows: dict[tuple[str, str, str], Row] = {}
    logged: defaultdict[tuple[str, str, int], list[int]] = defaultdict(list)
    elsewhere = 0
    for entry in entries:
        if entry.act == _EVALUATE and entry.outcome is Outcome.DONE:
            key = (entry.organisation, entry.subject_matter, entry.count)
            logged[key].append(entry.time)
            if period.since <= entry.time <= period.until:
                _count(_row(rows, entry.time, *key[:2]).log, entry.count)
                elsewhere += 1
    judged = [item for item in requests if period.since <= item.at <= period.until]
    missing: list[Request] = []
    waiting = len([item for item in requests if item.at > period.until])
    for key, asked in _by_key(judged).items():
        matched, late, left = _match(asked, logged[key], tolerance_s)
        for item in asked:
            _count(_row(rows, item.at, *key[:2]).book, item.count)
        for item in late:
            _count(_row(rows, item.at, *key[:2]).late, item.count)
        for item in left:
            if item.at > period.until - MARGIN_S:
                waiting += 1
                continue
            _count(_row(rows, item.at, *key[:2]).missing, item.count)
            missing.append(item)
        elsewhere -= len(matched) + len(late)
    ordered = tuple(rows[key] for key in sorted(rows))
    missing.sort(key=lambda item: item.at)
    return Compared(ordered, tuple(missing), waiting, max(0, elsewhere))


def compare_budgets(
    ledger: Iterable[LedgerEntry], entries: Iterable[Entry], owner: str, *, delta: float
) -> tuple[list[Budget], tuple[str, ...]]:
    """Compare what an owner's ledger and the hub's log say was spent, run by run.

    Args:
        delta: at which epsilon is told; whether both say the same does not depend on it.

    Returns:
        The scopes, and the runs that are open in the ledger and so not in the log yet.
    """
    own, running, neighbours = _own_runs(ledger)
    logged = _logged_runs(entries, owner)
    still = tuple(sorted(name for name in running if name not in logged))
    scopes = {scope for name, run in own.items() if name not in still for scope in run}
    found: list[Budget] = []
    for scope in sorted(scopes | {scope for run in logged.values() for scope in run}):
        names = sorted({*own, *logged} - set(still))
        sums: list[Tally] = [Counter(), Counter()]
        different = []
        for name in names:
            ours = own.get(name, {}).get(scope, Counter())
            theirs = logged.get(name, {}).get(scope, Counter())
            sums[0] += ours
            sums[1] += theirs
            if ours != theirs:
                different.append(name)
        spent = [price(total, delta, neighbours) for total in sums]
        found.append(Budget(scope, spent[0], spent[1], tuple(different)))
    return found, still


def _by_key(requests: Iterable[Request]) -> Mapping[tuple[str, str, int], list[Request]]:
    found: defaultdict[tuple[str, str, int], list[Request]] = defaultdict(list)
    for item in requests:
        found[item.key].append(item)
    return found


def _match(
    asked: Sequence[Request], times: list[int], tolerance_s: int
) -> tuple[list[Request], list[Request], list[Request]]:
    """Pair requests with entries of the same key: in time, at another time, not at all.

    Taking the earliest entry that fits for each request in turn pairs as many as any other
    way, since all have the same tolerance.
    """
    free = sorted(times)
    matched, rest = [], []
    for item in asked:
        at = bisect_left(free, item.at - tolerance_s)
        if at < len(free) and free[at] <= item.at + tolerance_s:
            del free[at]
            matched.append(item)
        else:
            rest.append(item)
    return matched, rest[: len(free)], rest[len(free) :]


def _row(rows: dict[tuple[str, str, str], Row], at: int, asker: str, matter: str) -> Row:
    day = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
    purpose = matter.rpartition("/")[2]
    return rows.setdefault((day, asker, purpose), Row(day, asker, purpose))


def _count(cell: list[int], elements: int) -> None:
    cell[0] += 1
    cell[1] += elements


Runs = dict[str, dict[Scope, Tally]]


def _own_runs(ledger: Iterable[LedgerEntry]) -> tuple[Runs, set[str], Neighbours]:
    """Return what each run paid in each scope, which runs are open, and the relation."""
    runs: Runs = {}
    running: set[str] = set()
    neighbours = Neighbours.ZERO_OUT_ONE_PERSON
    for entry in ledger:
        match entry:
            case Opened(found):
                neighbours = found
            case Reserved(run, scopes):
                over = {scope.over_recipients for scope in scopes}
                runs[run] = {scope: Counter() for scope in {*scopes, *over}}
                running.add(run)
            case Charged(run, _label, event):
                for spent in runs[run].values():
                    spent.update(tally(event))
            case Closed(run):
                running.discard(run)
    return runs, running, neighbours


def _logged_runs(entries: Iterable[Entry], owner: str) -> Runs:
    runs: Runs = {}
    for entry in entries:
        charge = entry.charge
        if charge is None:
            continue
        named = {scope for names in charge.scopes if (scope := Scope(*names)).dataset == owner}
        for scope in named | {scope.over_recipients for scope in named}:
            spent = runs.setdefault(charge.run, {}).setdefault(scope, Counter())
            spent.update(tally(charge.event))
    return runs
