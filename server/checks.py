"""What `lianfang-hub doctor` looks at, each with the way to mend it; it changes nothing.

What lies in a database is looked at only where the database is of this version: opening an
older one would bring it up to date, which is for `lianfang-hub serve` to do.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

from compliance.checkup import Check, Look, run_checks
from compliance.configuration import ConfigError
from compliance.doctor.certificates import certificate_lasts
from compliance.doctor.machine import (
    closed_to_others,
    has_space,
    packages_fit,
    ports_are_ours,
    python_fits,
    torch_works,
)
from compliance.doctor.organisation import agreement_in_force, policies_hold, staff_can_decide
from compliance.doctor.records import (
    clock_is_not_behind,
    is_published,
    is_settled,
    keys_are_readable,
    newest_of,
    second_place_agrees,
    sqlite_is_current,
)
from compliance.doctor.seen import FAIL, PASS, WARN, Level, Seen
from compliance.errors import ComplianceError
from compliance.evaluations.reading import STATE
from compliance.log.storage import Storage
from compliance.office.opening import AUDIT, FOLDER, SECOND, STORAGE
from protocols.errors import ProtocolError
from protocols.link import TransportError
from server.checks_of_certificates import public_lasts, trusted_last
from server.checks_of_partners import absent_partners, epoch_lasts, partners_certificates
from server.home import HubHome, unix_now
from server.identity.authority import load_authority
from server.identity.issued import Revocations
from server.log.examining import database_checks, database_revision
from server.log.opening import WITNESSES
from server.log.storages import storage_of
from server.log.witnesses import Witnesses
from server.office import agreements_of, policies_of
from server.operation.checks import watching_checks

LEAST_PARTNERS = 2
_CONNECT_S = 3.0
_KNOWN = (ComplianceError, ConfigError, ProtocolError, TransportError)


def examine(directory: Path) -> list[dict[str, Any]]:
    """Run every check; one that fails does not stop the others."""
    home = HubHome(directory)
    checks: list[Check | Look] = [
        *_machine(home),
        *_authority(home),
        *_database(home),
        *_organisation(home),
        *_partners(home),
        *watching_checks(home),
    ]
    return run_checks(checks, _KNOWN)


def _machine(home: HubHome) -> list[Look]:
    root = home.root
    return [
        Look("Python is 3.11 to 3.13", python_fits,
             "install Lianfang with Python 3.11, 3.12 or 3.13", elsewhere=True),
        Look("the packages are those that this version needs", packages_fit,
             "install again with the versions of requirements.lock", elsewhere=True),
        Look("torch computes on this machine", torch_works,
             "install the torch of requirements.lock for this processor", elsewhere=True),
        Look("one gibibyte of disk is free", partial(has_space, root),
             "free some space or move the directory", elsewhere=True),
        Look("hub.json holds together", lambda: bool(home.settings()),
             "run `lianfang-hub init` or correct the file"),
        Look("the directory is not a restored one", partial(is_settled, root),
             "settle the restore as docs/operator.md says, before anything is served"),
        Look("the ports are free or served by this hub", partial(_ports, home),
             "stop the other program, or change hub.json", elsewhere=True),
    ]  # fmt: skip


def _authority(home: HubHome) -> list[Look]:
    root, authority = home.root, home.authority
    renew = f"run lianfang-hub renew {root}; a hub that is being served takes it up"
    return [
        Look("the authority is readable", lambda: bool(load_authority(authority)),
             "restore authority/ from a backup"),
        Look("private keys are closed to others", lambda: closed_to_others(root.rglob("*.key")),
             f"run find {root} -name '*.key' -exec chmod 600 {{}} +"),
        Look("the authority's certificate lasts a year", partial(_authority_lasts, authority),
             "plan a new hub: partners trust this authority until it ends"),
        Look("the server certificate lasts two weeks",
             lambda: certificate_lasts(authority / "server.pem", unix_now()), renew),
        Look("the certificate of the hub's own programs lasts two weeks",
             lambda: certificate_lasts(authority / "hub.pem", unix_now()), renew),
        Look("a certificate brought along for public names lasts two weeks",
             partial(public_lasts, authority),
             f"run lianfang-hub authority public {root} with the next one"),
        Look("the authorities of partners' own last two months",
             partial(trusted_last, home, unix_now()),
             f"run lianfang-hub authority add {root} with their next ones"),
        Look("the list of revoked certificates is readable",
             lambda: Revocations(root).serials() is not None, "restore authority/ from a backup"),
    ]  # fmt: skip


def _authority_lasts(authority: Path) -> Seen:
    year = 365 * 86_400
    return certificate_lasts(authority / "ca.crt", unix_now(), warn_s=year, fail_s=30 * 86_400)


def _database(home: HubHome) -> list[Check | Look]:
    update = f"run lianfang-hub serve {home.root}, which brings it up to date, after a backup"
    try:
        setting = home.settings().database
    except ConfigError:
        return []  # told by the check of hub.json
    if setting:
        current = partial(database_revision, setting)
        return [*database_checks(setting), Look("the database is of this version", current, update)]
    return [
        Look(f"{name} is of this version", partial(sqlite_is_current, path), update)
        for name, path in (("the log's database", home.root / FOLDER / STORAGE),
                           ("the database of the hub's state", home.root / STATE))
    ]  # fmt: skip


def _organisation(home: HubHome) -> list[Look]:
    root, now = home.root, unix_now()
    serve = f"run lianfang-hub serve {root}, and see lianfang-hub log status {root}"
    return [
        Look("staff can decide, two at a time", partial(staff_can_decide, root),
             f"run lianfang-hub staff add {root} NAME --role compliance (approver, operator)"),
        Look("an agreement is in force",
             _ready(home, lambda: agreement_in_force(agreements_of(home), now)),
             f"run lianfang-hub agreement draft {root} --help, and let all parties sign"),
        Look("the policies hold", _ready(home, lambda: policies_hold(policies_of(home))),
             "restore policies/, or the database that keeps them, from a backup"),
        Look("the log's keys are readable", partial(keys_are_readable, root / FOLDER),
             "restore log/ from a backup"),
        Look("the log agrees with its second place",
             _of_log(home, lambda log, name: second_place_agrees(log, root / SECOND, name)),
             f"stop the hub, keep {root} as it is, and restore the newer copy of the log"),
        Look("the log is published and cosigned",
             _of_log(home, lambda log, name: is_published(log, name, _witnesses(home), now)),
             serve, elsewhere=True),
        Look("this clock is not behind the log and its witnesses",
             _of_log(home, lambda log, name: clock_is_not_behind(log, name, _witnesses(home), now)),
             "set the clock (timedatectl set-ntp true), then start the hub anew", elsewhere=True),
    ]  # fmt: skip


def _partners(home: HubHome) -> list[Look]:
    root, now = home.root, unix_now()
    return [
        Look("at least two partners have joined", _ready(home, partial(_joined, home)),
             f"run lianfang-hub invite {root} PARTNER --as NAME, then approve its request"),
        Look("partners' certificates last",
             _ready(home, lambda: partners_certificates(home, now)),
             "tell the partner: lianfang node renew NODE; a new code, if it has ended"),
        Look("an epoch is in force", lambda: epoch_lasts(home, now),
             f"run lianfang-hub epoch begin {root} --as NAME --second NAME"),
        Look("the partners are there", _ready(home, lambda: absent_partners(home)),
             f"see lianfang-hub status {root}; there: lianfang node doctor NODE", elsewhere=True),
    ]  # fmt: skip


def _joined(home: HubHome) -> Seen:
    names = sorted(home.partners())
    told = ", ".join(names) or "nobody"
    return Seen(PASS if len(names) >= LEAST_PARTNERS else FAIL, told)


def _ready(home: HubHome, look: Callable[[], Seen]) -> Callable[[], Seen]:
    """Look only where no database would be made, or brought up to date, by looking."""

    def looked() -> Seen:
        setting = home.settings().database
        if setting:
            is_ready = database_revision(setting).level is Level.PASS
        else:
            path = home.root / STATE
            is_ready = path.exists() and sqlite_is_current(path).level is Level.PASS
        if not is_ready:
            return Seen(WARN, "not looked at: the database is not of this version, or not there")
        return look()

    return looked


def _of_log(home: HubHome, look: Callable[[Storage, str], Seen]) -> Callable[[], Seen]:
    """Look at the newest log, where there is one in a database of this version."""

    def looked() -> Seen:
        settings = home.settings()
        path = home.root / FOLDER / STORAGE
        if not settings.database and not path.exists():
            return Seen(PASS, "nothing entered yet")
        if not settings.database and sqlite_is_current(path).level is not Level.PASS:
            return Seen(WARN, "not looked at: the database is not of this version")
        with closing(storage_of(home)) as storage:
            origin = newest_of(storage, f"{settings.name}/{AUDIT}")
            return Seen(PASS, "nothing entered yet") if origin is None else look(storage, origin)

    return looked if not _is_server(home) else _ready(home, looked)


def _is_server(home: HubHome) -> bool:
    with suppress(ConfigError):
        return bool(home.settings().database)
    return False


def _witnesses(home: HubHome) -> Sequence[tuple[str, Any]]:
    listed = Witnesses.load_any(home.root / FOLDER / WITNESSES).listed
    return [(item.name, key) for item in listed for key in item.keys]


def _ports(home: HubHome) -> Seen:
    settings = home.settings()
    ports = {
        "link": settings.link_port,
        "Flower": settings.fleet_port,
        "API": settings.api_port,
    }
    return ports_are_ours(settings.host, ports, served=_serves(home))


def _serves(home: HubHome) -> bool:
    """Whether the API's port shows this hub's own certificate."""
    settings = home.settings()
    try:
        shown = ssl.get_server_certificate((settings.host, settings.api_port), timeout=_CONNECT_S)
        ours = (home.authority / "server.pem").read_text()
        return ssl.PEM_cert_to_DER_cert(shown) == ssl.PEM_cert_to_DER_cert(ours)
    except (OSError, ValueError):
        return False
