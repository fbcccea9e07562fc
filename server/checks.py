"""What `lianfang-hub doctor` looks at, each with the way to mend it."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from cryptography import x509

from compliance.checkup import Check, has_space, python_fits, run_checks
from compliance.configuration import ConfigError
from protocols.errors import ProtocolError
from server.home import HubHome, unix_now
from server.identity.authority import load_authority
from server.identity.issued import Revocations
from server.log.examining import database_checks
from server.operation.checks import watching_checks

_RENEW_BEFORE_S = 14 * 86_400
_OTHERS = 0o077
LEAST_PARTNERS = 2


def examine(directory: Path) -> list[dict[str, Any]]:
    """Run every check; one that fails does not stop the others."""
    home = HubHome(directory)
    checks: list[Check] = [
        ("Python is 3.11 to 3.13", python_fits, "install Lianfang with Python 3.11, 3.12 or 3.13"),
        (
            "hub.json holds together",
            lambda: bool(home.settings()),
            "run `lianfang-hub init` or correct the file",
        ),
        (
            "the authority is readable",
            lambda: bool(load_authority(home.authority)),
            "restore authority/ from a backup",
        ),
        (
            "private keys are closed to others",
            lambda: _closed(home),
            "run chmod 600 on authority/*.key",
        ),
        (
            "the server certificate lasts two weeks",
            lambda: _lasts(home, "server.pem"),
            f"run lianfang-hub renew {directory}, then start the hub anew",
        ),
        (
            "the certificate of the hub's own programs lasts two weeks",
            lambda: _lasts(home, "hub.pem"),
            f"run lianfang-hub renew {directory}, then start the hub anew",
        ),
        (
            "the list of revoked certificates is readable",
            lambda: Revocations(home.root).serials() is not None,
            "restore authority/ from a backup",
        ),
        (
            "one gibibyte of disk is free",
            lambda: has_space(directory),
            "free some space or move the directory",
        ),
        (
            "the ports are free or served by this hub",
            lambda: _ports(home),
            "stop the other program, or change hub.json",
        ),
        (
            "at least two partners have joined",
            lambda: len(home.partners()) >= LEAST_PARTNERS,
            "approve join requests",
        ),
    ]
    return run_checks(
        [*checks, *_database(home), *watching_checks(home)], (ConfigError, ProtocolError)
    )


def _database(home: HubHome) -> list[Check]:
    try:
        return database_checks(home.settings().database)
    except ConfigError:
        return []  # told by the check of hub.json


def _closed(home: HubHome) -> bool:
    keys = list(home.authority.glob("*.key"))
    return bool(keys) and all(not key.stat().st_mode & _OTHERS for key in keys)


def _lasts(home: HubHome, name: str) -> bool:
    certificate = x509.load_pem_x509_certificate((home.authority / name).read_bytes())
    return certificate.not_valid_after_utc.timestamp() > unix_now() + _RENEW_BEFORE_S


def _ports(home: HubHome) -> bool:
    settings = home.settings()
    served = (home.root / "flower" / "gate.json").exists()
    for port in (settings.link_port, settings.fleet_port, settings.api_port):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.host, port))
            except OSError:
                if not served:
                    return False
    return True
