"""Making up for what a restored node has forgotten; see `compliance.backup.settled`.

    1  copies of the hub's log, fetched since, are verified under the pinned key
    2  two people decide that this is all, with a reason; a refusal changes nothing further
    3  runs that the log has and the ledger has not are charged: by what the log says that was
       released, or in full by their plan
    4  evaluations that the log has and the holder's book has not are charged
    5  it is entered into the node's own log, and the mark goes

Each step may be repeated after a crash. Runs that were open in the backup were charged in full
when it was put back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from clients.holder.home import HolderHome
from clients.lookup.logged import LogPin
from clients.lookup.trust import Trust
from clients.node.home import Home
from clients.node.spending import open_ledger, scopes
from clients.office import node_office
from compliance.backup.quotas import TOLERANCE_S, recover_quotas
from compliance.backup.settled import Restored, finish, restored
from compliance.backup.spending import closed_runs, recover_run
from compliance.configuration import ConfigError
from compliance.entries import Scope
from compliance.evaluations.book import BOOK
from compliance.exports.check import check_export
from compliance.exports.source import open_source
from compliance.office.about import About
from compliance.office.office import Office
from compliance.staff.acting import Acting
from protocols.codec import canonical_json
from protocols.dp.events import DpEvent
from protocols.errors import ProtocolError
from protocols.tlog.entry import Entry, Outcome, Verb
from protocols.vertical.budget import run_event
from protocols.vertical.plan import TrainingPlan

ACT = "close_incident"
MATTER = "restore"
_RUN = "run/"

Identify = Callable[[Office], Acting]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Given:
    """What the officer gives.

    Args:
        copies: of the hub's logs, fetched after the restore.
        plans: of runs whose cost the log does not have.
        without: runs of which the officer says that this node took no part in them.
    """

    copies: Sequence[Path] = ()
    plans: Sequence[Path] = ()
    without: Sequence[str] = ()


@dataclass(slots=True)
class LoggedRun:
    """What the hub's log has of one run.

    Args:
        plan: digest of its plan.
        events, scopes: of what this node released in it.
        is_over: it ended, and this node was never asked to do what costs budget.
    """

    plan: bytes = b""
    events: list[DpEvent] = field(default_factory=list)
    scopes: set[Scope] = field(default_factory=set)
    is_over: bool = False


def settle_node(
    home: Home, given: Given, identify: Identify, *, reason: str, progress: Progress
) -> dict[str, Any]:
    """Settle a restored node; return what was found and done.

    Raises:
        ConfigError: nothing is to be settled, or what was given does not suffice.
        NotPermittedError: the policies do not permit it; that is entered.
    """
    mark = restored(home.root)
    if mark is None:
        raise ConfigError(f"{home.root}: was not put back from a backup, or is settled")
    logs = _read(home, given.copies, mark, progress)
    now, name = int(time.time()), home.config().name
    runs = runs_of(logs, name)
    plans = _plans(home, given, runs)
    with node_office(home) as office:
        about = About(Verb.ALTER, MATTER, count=len(runs), reason=reason)
        who = identify(office)
        decision = who.permit(office, ACT, about, what="go on from a backup", details=sorted(runs))
        outcome = {
            "spent_in_full": [*mark.spent_runs, *_charge(home, runs, plans, now)],
            "charged_elements": _quotas(home, logs, mark, now),
            "no_part_in": sorted(given.without),
        }
        document = sha256(canonical_json(outcome)).digest()
        office.enter(decision, replace(about, document=document))
    finish(home.root, mark, outcome)
    return outcome


def _read(
    home: Home, paths: Sequence[Path], mark: Restored, progress: Progress
) -> dict[str, list[Entry]]:
    """Return the entries of the hub's logs, verified."""
    pin, now = LogPin(home, Trust(home).hub_identity), int(time.time())
    pinned = pin.pinned()
    if pinned is None or not paths:
        raise ConfigError(
            f"settle: give --log with a copy of the hub's log; fetch it by `lianfang audit fetch "
            f"{home.root} --out DIRECTORY`"
        )
    found: dict[str, list[Entry]] = {}
    end = 0
    for path in paths:
        with open_source(path) as source:
            origin = source.checkpoint().origin
            checked = check_export(source, pin.policy_of(origin, pinned, now), progress=progress)
            if not checked.is_whole or checked.is_selection:
                raise ConfigError(f"{path.name}: does not hold, or is no whole log; fetch it anew")
            found[origin] = list(source.entries())
            times = (entry.time for entry in found[origin])
            end = max(end, *checked.report.cosigned.values(), *times, 0)
    if end < mark.made_at - TOLERANCE_S:
        raise ConfigError("settle: the copies end before the backup was made; fetch them anew")
    return found


def runs_of(logs: Mapping[str, Iterable[Entry]], name: str) -> dict[str, LoggedRun]:
    """Return the runs that this node was to take part in, by the hub's log."""
    found: dict[str, LoggedRun] = {}
    ended: set[str] = set()
    unreported: set[str] = set()
    for entry in (entry for entries in logs.values() for entry in entries):
        run = entry.subject_matter.removeprefix(_RUN)
        if entry.act == "propose_run" and name in entry.recipients and entry.document:
            found.setdefault(run, LoggedRun()).plan = entry.document
        elif entry.act == "compute" and entry.organisation == name:
            _take(found.setdefault(run, LoggedRun()), entry, name)
            if entry.charge is None and entry.outcome is not Outcome.DONE:
                unreported.add(run)
        elif entry.act == "compute" and entry.document != found.get(run, LoggedRun()).plan:
            ended.add(run)  # its last entry has the digest of the record
    for run, logged in found.items():
        logged.is_over = run in ended and run not in unreported
    return found


def _take(logged: LoggedRun, entry: Entry, name: str) -> None:
    if entry.charge is not None:
        scopes_here = {Scope(*names) for names in entry.charge.scopes}
        logged.scopes |= {scope for scope in scopes_here if scope.dataset == name}
        logged.events.append(entry.charge.event)


def _plans(home: Home, given: Given, runs: Mapping[str, LoggedRun]) -> dict[str, TrainingPlan]:
    """Return the plans of the runs whose cost is not known otherwise.

    Raises:
        ConfigError: one is missing; names the run.
    """
    plans = {}
    for path in given.plans:
        try:
            plan = TrainingPlan.decode(path.read_bytes())
        except (OSError, ProtocolError) as error:
            raise ConfigError(f"{path}: no plan of a run; ask the hub for it") from error
        plans[plan.digest] = plan
    known = closed_runs(home.ledger) | set(given.without)
    found = {}
    for run, logged in runs.items():
        if run in known or logged.events or logged.is_over:
            continue
        if logged.plan not in plans:
            raise ConfigError(
                f"run {run}: the hub's log has no end of it, and the ledger does not know it; give "
                f"--plan with runs/{run}/proposed.json of the hub, so that it counts as spent in "
                f"full, or --without {run} if this node took no part in it"
            )
        found[run] = plans[logged.plan]
    return found


def _charge(
    home: Home, runs: Mapping[str, LoggedRun], plans: Mapping[str, TrainingPlan], now: int
) -> list[str]:
    """Charge what the ledger does not know; return the runs."""
    with open_ledger(home):
        pass  # begun, also where the backup held none
    charged = []
    for run, logged in sorted(runs.items()):
        if logged.events:
            told, events = sorted(logged.scopes), logged.events
        elif run in plans:
            plan = plans[run]
            told, events = list(scopes(home, plan)), [run_event(plan, home.config().name)]
        else:
            continue
        if recover_run(home.ledger, run, told, events, now):
            charged.append(run)
    return charged


def _quotas(home: Home, logs: Mapping[str, list[Entry]], mark: Restored, now: int) -> int:
    holder = HolderHome(home)
    if not (home.root / "holder" / BOOK).exists():
        return 0
    with closing(holder.book()) as book:
        return sum(
            recover_quotas(book, origin, entries, since=mark.made_at, now=now)
            for origin, entries in logs.items()
        )
