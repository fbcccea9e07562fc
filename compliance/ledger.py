"""The privacy budget ledger of one owner: what may still be learned about its people.

    reserve   before a run: its whole plan is set aside in every scope, or nothing is
    charge    before each release: paid out of what was set aside, durable on return
    close     after a run: what was not paid is free again; what was paid never is

A scope is admitted to `reserve` if the composition of all that was ever charged in it, all
that open runs have set aside, and the new plan costs at most its cap. Each scope counts a
second time in the one over all recipients of the same data. There is no refresh: only a new
agreement brings a new cap, and a crash leaves everything as it was, open runs included.

One charge is one release, whoever of the run's recipients sees it. Several processes may
use one ledger: each decision is made under the journal's lock, on all that any has written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
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
from compliance.errors import BudgetExhaustedError, LogCorruptError, NotPermittedError
from compliance.journal import Journal
from compliance.spending import Tally, lies_inside, price, tally
from protocols.dp.accounting import check_delta, check_epsilon
from protocols.dp.events import DpEvent
from protocols.dp.neighbours import Neighbours
from protocols.errors import OutOfTurnError


@dataclass(frozen=True, slots=True)
class Cap:
    """The most that may be learned in a scope, by the agreement."""

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        check_epsilon(self.epsilon)
        check_delta(self.delta)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a scope would stand at if an event were reserved."""

    scope: Scope
    epsilon: float
    cap: Cap

    @property
    def fits(self) -> bool:
        """Whether the cap allows it."""
        return self.epsilon <= self.cap.epsilon


@dataclass(slots=True)
class Run:
    """What a run set aside and what it has paid."""

    scopes: tuple[Scope, ...]
    reserved: Tally
    since: int
    charged: Tally = field(default_factory=Counter)
    charges: list[Charged] = field(default_factory=list)
    is_open: bool = True
    closed_at: int | None = None


class Ledger:
    """One owner's ledger, in one journal file."""

    def __init__(
        self,
        path: Path,
        caps: Mapping[Scope, Cap],
        *,
        neighbours: Neighbours = Neighbours.ZERO_OUT_ONE_PERSON,
    ) -> None:
        self._caps = dict(caps)
        self._neighbours = neighbours
        self._runs: dict[str, Run] = {}
        self._began = False
        self._journal = Journal(path)
        with self._current():
            if not self._began:
                self._write(Opened(neighbours))

    def close(self) -> None:
        """Give the file back; open runs stay open."""
        self._journal.close()

    def reserve(self, run: str, scopes: Iterable[Scope], event: DpEvent, now: int) -> None:
        """Set aside a run's whole plan in every scope, or nothing in any; durable on return.

        Raises:
            BudgetExhaustedError: a cap does not allow it.
            NotPermittedError: the agreement names no cap for a scope.
            OutOfTurnError: the run is known already.
        """
        entry = Reserved(run, tuple(scopes), event, now)
        check_entry(entry)
        with self._current():
            if run in self._runs:
                raise OutOfTurnError(f"run {run}: has reserved before")
            for forecast in self._forecasts(entry.scopes, event):
                if not forecast.fits:
                    raise BudgetExhaustedError(
                        f"{_text(forecast.scope)}: epsilon would be {forecast.epsilon:.4f}, "
                        f"the cap is {forecast.cap.epsilon:.4f}; nothing was reserved",
                        partner=forecast.scope.recipient,
                    )
            self._write(entry)

    def charge(self, run: str, label: str, event: DpEvent, now: int) -> None:
        """Pay for one release out of the run's reservation; durable on return.

        Raises:
            BudgetExhaustedError: the reservation does not cover it.
            OutOfTurnError: the run has no open reservation.
        """
        entry = Charged(run, label, event, now)
        check_entry(entry)
        with self._current():
            found = self._open_run(run)
            if not lies_inside(found.charged + tally(event), found.reserved):
                raise BudgetExhaustedError(
                    f"run {run}: {label} exceeds what was reserved; nothing was charged",
                    partner=found.scopes[0].recipient,
                )
            self._write(entry)

    def close_run(self, run: str, now: int) -> None:
        """End a run: what it did not pay is free again; durable on return.

        Raises:
            OutOfTurnError: the run has no open reservation.
        """
        entry = Closed(run, now)
        check_entry(entry)
        with self._current():
            self._open_run(run)
            self._write(entry)

    def preview(self, scopes: Iterable[Scope], event: DpEvent) -> tuple[Forecast, ...]:
        """Tell what every scope, and those over recipients, would stand at; writes nothing.

        Raises:
            NotPermittedError: the agreement names no cap for a scope.
        """
        with self._current():
            return self._forecasts(tuple(scopes), event)

    def spent(self, scope: Scope) -> float:
        """Return the epsilon of all that was ever charged in a scope."""
        total: Tally = Counter()
        with self._current():
            for run in self._runs_of(scope):
                total += run.charged
        return self._price(scope, total)

    def committed(self, scope: Scope) -> float:
        """Return the epsilon of all charges and of what open runs have set aside."""
        with self._current():
            return self._price(scope, self._committed(scope))

    def remaining(self, scope: Scope) -> float:
        """Return by how much epsilon a scope stands under its cap; never negative."""
        return max(0.0, self._cap(scope).epsilon - self.committed(scope))

    def charges(self, run: str) -> tuple[Charged, ...]:
        """Return what a run has paid, in order; empty for a run that never reserved."""
        with self._current():
            found = self._runs.get(run)
            return () if found is None else tuple(found.charges)

    def run(self, run: str) -> Run | None:
        """Return what a run set aside and paid, open or ended; None if it never reserved."""
        with self._current():
            found = self._runs.get(run)
            return None if found is None else _copy(found)

    def cost(self, run: str, delta: float) -> float:
        """Return the epsilon of all that a run has paid; 0 for one that never reserved."""
        with self._current():
            found = self._runs.get(run)
            return 0.0 if found is None else price(found.charged, delta, self._neighbours)

    def open_runs(self) -> dict[str, Run]:
        """Return the runs that hold a reservation, as after a crash."""
        with self._current():
            return {name: _copy(run) for name, run in self._runs.items() if run.is_open}

    @contextmanager
    def _current(self) -> Iterator[None]:
        """Hold the journal alone, with everything applied that any process has written."""
        with self._journal.exclusive() as records:
            self._apply_all(records)
            yield

    def _forecasts(self, scopes: tuple[Scope, ...], event: DpEvent) -> tuple[Forecast, ...]:
        added = tally(event)
        asked = sorted({*scopes, *(scope.over_recipients for scope in scopes)})
        return tuple(
            Forecast(scope, self._price(scope, self._committed(scope) + added), self._cap(scope))
            for scope in asked
        )

    def _price(self, scope: Scope, spent: Tally) -> float:
        return price(spent, self._cap(scope).delta, self._neighbours)

    def _committed(self, scope: Scope) -> Tally:
        total: Tally = Counter()
        for run in self._runs_of(scope):
            # An open reservation holds its charges: counting both would count them twice.
            total += run.reserved if run.is_open else run.charged
        return total

    def _runs_of(self, scope: Scope) -> list[Run]:
        return [
            run
            for run in self._runs.values()
            if scope in run.scopes or scope in {part.over_recipients for part in run.scopes}
        ]

    def _cap(self, scope: Scope) -> Cap:
        if scope not in self._caps:
            raise NotPermittedError(f"{_text(scope)}: the agreement names no cap for it")
        return self._caps[scope]

    def _open_run(self, run: str) -> Run:
        found = self._runs.get(run)
        if found is None or not found.is_open:
            raise OutOfTurnError(f"run {run}: has no open reservation")
        return found

    def _write(self, entry: Entry) -> None:
        self._journal.append(encode_entry(entry))
        self._apply(entry)

    def _apply_all(self, records: Iterable[bytes]) -> None:
        for record in records:
            try:
                self._apply(decode_entry(record))
            except (LogCorruptError, OutOfTurnError) as error:
                # What was read is lost to this object: it must decide nothing from here on.
                self._journal.close()
                raise LogCorruptError(f"ledger: stopped at an impossible entry: {error}") from error

    def _apply(self, entry: Entry) -> None:
        if self._began == isinstance(entry, Opened):
            raise OutOfTurnError("ledger: expected one opening entry, at the start")
        match entry:
            case Opened(neighbours):
                if neighbours is not self._neighbours:
                    raise LogCorruptError(f"ledger: kept under {neighbours.value}")
                self._began = True
            case Reserved(run, scopes, event, now):
                if run in self._runs:
                    raise OutOfTurnError(f"run {run}: has reserved before")
                self._runs[run] = Run(scopes, tally(event), now)
            case Charged(run, _label, event, _now):
                found = self._open_run(run)
                if not lies_inside(found.charged + tally(event), found.reserved):
                    raise OutOfTurnError(f"run {run}: charged more than it reserved")
                found.charged += tally(event)
                found.charges.append(entry)
            case Closed(run, now):
                found = self._open_run(run)
                found.is_open, found.closed_at = False, now


def _copy(run: Run) -> Run:
    return replace(run, charged=run.charged.copy(), charges=list(run.charges))


def _text(scope: Scope) -> str:
    return f"{scope.cohort}/{scope.dataset} to {scope.recipient}"
