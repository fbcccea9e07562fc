"""What `lianfang node doctor` looks at, each with the way to mend it; it changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from clients.audit.home import AuditHome
from clients.keys import AUTHORITY, CERTIFICATE, KeyStoreError, load_keys
from clients.node.budget import budget
from clients.node.home import Home
from clients.node.mapping.snapshots import FOLDER as SNAPSHOT
from clients.node.mapping.snapshots import SOURCE
from clients.node.reaching import Reaching
from clients.node.standing_state import FILE as STATE
from clients.node.standing_state import Standing, state_of
from clients.node.table import load_table
from clients.operation.checks import watching_checks
from clients.output import CommandError
from compliance.checkup import Check, Look, run_checks
from compliance.configuration import ConfigError, read_object
from compliance.doctor.certificates import certificate_lasts
from compliance.doctor.machine import (
    closed_to_others,
    has_space,
    packages_fit,
    python_fits,
    torch_works,
)
from compliance.doctor.organisation import agreement_in_force, policies_hold, staff_can_decide
from compliance.doctor.records import (
    clock_is_not_behind,
    is_settled,
    keys_are_readable,
    newest_of,
    second_place_agrees,
    sqlite_is_current,
)
from compliance.doctor.seen import DAY_S, FAIL, PASS, WARN, Level, Seen, aged, lasting, worse
from compliance.errors import ComplianceError, UnknownEpochError
from compliance.evaluations.store import EpochStore
from compliance.log.sqlstore import SqlStorage
from compliance.log.storage import Storage
from compliance.office.opening import AGREEMENTS, AUDIT, FOLDER, POLICIES, SECOND, STORAGE
from protocols.errors import ProtocolError
from protocols.link import TransportError

_KNOWN = (
    CommandError, ComplianceError, ConfigError, KeyStoreError, ProtocolError, TransportError,
)  # fmt: skip
_HOLDER = "holder"
_LEDGER = "ledger"
_SNAPSHOT_OLD_S = 30 * DAY_S
_EPOCH_SOON_S = 3 * DAY_S
_LITTLE = 0.1
_PEERS = 2


def examine(directory: Path) -> list[dict[str, Any]]:
    """Run every check; one that fails does not stop the others."""
    home, now = Home(directory), int(time.time())
    checks: list[Check | Look] = [
        *_machine(home),
        *_keys(home, now),
        *_hub(home),
        *_data(home, now),
        *_organisation(home, now),
        *watching_checks(home),
    ]
    return run_checks(checks, _KNOWN)


def _machine(home: Home) -> list[Look]:
    return [
        Look("Python is 3.11 to 3.13", python_fits,
             "install Lianfang with Python 3.11, 3.12 or 3.13", elsewhere=True),
        Look("the packages are those that this version needs", packages_fit,
             "install again with the versions of requirements.lock", elsewhere=True),
        Look("torch computes on this machine", torch_works,
             "install the torch of requirements.lock for this processor", elsewhere=True),
        Look("one gibibyte of disk is free", partial(has_space, home.root),
             "free some space or move the directory", elsewhere=True),
        Look("node.json holds together", lambda: bool(home.config()),
             "run `lianfang node init` or correct the file"),
        Look("policy.json holds together", lambda: bool(home.policy()),
             "correct the file, or make a new one"),
        Look("the directory is not a restored one", partial(is_settled, home.root),
             "settle the restore as docs/operator.md says, before the node is started"),
    ]  # fmt: skip


def _keys(home: Home, now: int) -> list[Look]:
    root, keys = home.root, home.root / "keys"
    return [
        Look("keys are readable and closed to others", partial(_keys_hold, root),
             f"restore keys/, or run find {root} -name '*.key' -exec chmod 600 {{}} +"),
        Look("the certificate lasts two weeks",
             lambda: certificate_lasts(keys / CERTIFICATE, now),
             f"run lianfang node renew {root}; if it has run out already, join again by a code"),
        Look("the hub's authority lasts", lambda: _authority(keys / AUTHORITY, now),
             "ask the hub's operator for the code of the hub that comes after it"),
    ]  # fmt: skip


def _hub(home: Home) -> list[Look]:
    found = Reaching(home)
    network = "check the address in node.json and the network"
    return [
        Look("the hub's link answers", found.link, network, elsewhere=True),
        Look("the hub's Flower door answers", found.flower,
             "check that the hub is being served", elsewhere=True),
        Look("the hub's API answers", found.api,
             "check the address in node.json and that the hub is being served", elsewhere=True),
        Look("the hub lets this node in", found.lets_us_in,
             f"run lianfang node renew {home.root}, or ask the hub's operator", elsewhere=True),
        Look("hub and node are of neighbouring versions", found.version,
             "update the side that the text names", elsewhere=True),
        Look("this clock and the hub's agree", found.clock,
             "set the clock (timedatectl set-ntp true), here or at the hub", elsewhere=True),
    ]  # fmt: skip


def _data(home: Home, now: int) -> list[Look]:
    root = home.root
    return [
        Look("the table keeps its contract", partial(_table, home),
             f"correct the export or the contract; see lianfang node map {root} --check"),
        Look("the snapshot is recent", lambda: _snapshot(root, now),
             f"run lianfang node refresh {root}"),
        Look("budget is left", lambda: _budget(root, now),
             f"see lianfang node budget {root}; a new agreement can raise the caps"),
        Look("an epoch is in force", lambda: _epoch(root, now),
             "ask the hub's operator for lianfang-hub epoch begin"),
        Look("the node takes part", partial(_takes_part, home), f"run lianfang node resume {root}"),
        Look("other partners' keys are pinned", partial(_pinned, home),
             f"run lianfang node trust {root} PARTNER IDENTITY_KEY for each"),
    ]  # fmt: skip


def _organisation(home: Home, now: int) -> list[Look]:
    root = home.root
    return [
        Look("staff can decide, two at a time", partial(staff_can_decide, root),
             f"run lianfang staff add {root} NAME --role compliance (approver, operator)"),
        Look("an agreement is in force", lambda: _agreement(home, now),
             f"run lianfang audit agreement sync {root}, then sign what waits there"),
        Look("the policies hold", lambda: _policies(home), "restore policies/ from a backup"),
        Look("the log's database is of this version",
             lambda: sqlite_is_current(root / FOLDER / STORAGE),
             f"run lianfang node start {root}, which brings it up to date, after a backup"),
        Look("the log's keys are readable", partial(keys_are_readable, root / FOLDER),
             "restore log/ from a backup"),
        Look("the log agrees with its second place",
             _of_log(home, lambda log, name: second_place_agrees(log, root / SECOND, name)),
             f"stop the node, keep {root} as it is, and restore the newer copy of the log"),
        Look("this clock is not behind the log",
             _of_log(home, lambda log, name: clock_is_not_behind(log, name, (), now)),
             "set the clock (timedatectl set-ntp true), then start the node anew", elsewhere=True),
    ]  # fmt: skip


def _keys_hold(root: Path) -> Seen:
    load_keys(root / "keys")
    return closed_to_others(root.rglob("*.key"))


def _authority(path: Path, now: int) -> Seen:
    if not path.exists():
        return Seen(WARN, "none yet: this node has joined no hub")
    return certificate_lasts(path, now)


def _table(home: Home) -> Seen:
    config = home.config()
    found = load_table(config.table, home.contract(), held_out_column=config.held_out_column)
    return Seen(PASS if found.rows > 0 else FAIL, f"{found.rows:,} rows")


def _snapshot(root: Path, now: int) -> Seen:
    path = root / SNAPSHOT / SOURCE
    if not path.exists():
        return Seen(PASS, "none is used")
    return aged(now - int(read_object(path)["taken_at"]), warn_s=_SNAPSHOT_OLD_S)


def _budget(root: Path, now: int) -> Seen:
    if not (root / _LEDGER).is_dir():
        return Seen(PASS, "nothing was ever spent")
    seen = []
    for item in budget(root, now=now).standings:
        if item.is_agreed:
            told = f"{item.scope.recipient} {item.remaining:.2f} of {item.cap.epsilon:g}"
            little = item.remaining < _LITTLE * item.cap.epsilon
            seen.append(Seen(WARN if little else PASS, told))
    return worse(*seen)


def _epoch(root: Path, now: int) -> Seen:
    if not (root / _HOLDER).is_dir():
        return Seen(PASS, "this node has held no share of a key yet")
    try:
        found = EpochStore(root / _HOLDER).current(now)
    except UnknownEpochError:
        return Seen(WARN, "none is in force that this node holds a share of")
    left = lasting(found.not_after - now, warn_s=_EPOCH_SOON_S)
    return Seen(left.level, f"epoch {found.epoch}, {left.found}")


def _takes_part(home: Home) -> Seen:
    state = state_of(home)
    if state.standing is Standing.TAKING_PART:
        return Seen(PASS)
    return Seen(WARN, f"{STATE}: {state.standing.value}: {state.reason}")


def _pinned(home: Home) -> Seen:
    peers = sorted(home.config().peers)
    told = ", ".join(peers) or "nobody"
    return Seen(PASS if len(peers) >= _PEERS else WARN, told)


def _agreement(home: Home, now: int) -> Seen:
    if not (home.root / AGREEMENTS).is_dir():
        return Seen(WARN, "there never was one here")
    return agreement_in_force(AuditHome(home).agreements(), now)


def _policies(home: Home) -> Seen:
    if not (home.root / POLICIES).is_dir():
        return Seen(PASS, "as they came with this version; nothing was decided yet")
    return policies_hold(AuditHome(home).policies())


def _of_log(home: Home, look: Callable[[Storage, str], Seen]) -> Callable[[], Seen]:
    """Look at the newest log, where there is one in a database of this version."""

    def looked() -> Seen:
        path = home.root / FOLDER / STORAGE
        if not path.exists():
            return Seen(PASS, "nothing entered yet")
        if sqlite_is_current(path).level is not Level.PASS:
            return Seen(WARN, "not looked at: the database is not of this version")
        with closing(SqlStorage.open(f"sqlite:///{path}")) as storage:
            origin = newest_of(storage, f"{home.config().name}/{AUDIT}")
            return Seen(PASS, "nothing entered yet") if origin is None else look(storage, origin)

    return looked
