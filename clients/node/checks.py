"""What `lianfang node doctor` looks at, each with the way to mend it."""

from __future__ import annotations

import shutil
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509

from clients.keys import KeyStoreError, load_keys
from clients.node.home import Home
from clients.node.table import load_table
from compliance.configuration import ConfigError
from protocols.errors import ProtocolError

_LEAST_FREE_BYTES = 1 << 30
_RENEW_BEFORE_S = 14 * 86_400
_PYTHONS = ((3, 11), (3, 14))
_CONNECT_S = 3.0


def examine(directory: Path) -> list[dict[str, Any]]:
    """Run every check; one that fails does not stop the others."""
    home = Home(directory)
    checks: list[tuple[str, Callable[[], bool], str]] = [
        ("Python is 3.11 to 3.13", _python, "install Lianfang with Python 3.11, 3.12 or 3.13"),
        (
            "node.json holds together",
            lambda: bool(home.config()),
            "run `lianfang node init` or correct the file",
        ),
        (
            "policy.json holds together",
            lambda: bool(home.policy()),
            "correct the file, or make a new one",
        ),
        (
            "keys are readable and closed to others",
            lambda: bool(load_keys(home.keys)),
            "restore keys/ or chmod 600 its files",
        ),
        (
            "the certificate lasts two weeks",
            lambda: _lasts(home),
            "ask the hub's operator for a new welcome",
        ),
        (
            "the table keeps its contract",
            lambda: _table(home),
            "correct the export or the contract",
        ),
        (
            "the hub's link answers",
            lambda: _reaches(home.config().link),
            "check the address in node.json and the network",
        ),
        (
            "the hub's Flower door answers",
            lambda: _reaches(home.config().flower),
            "check that the hub is being served",
        ),
        (
            "one gibibyte of disk is free",
            lambda: _space(directory),
            "free some space or move the directory",
        ),
    ]
    findings = []
    for name, check, cure in checks:
        ok, found = _holds(check)
        findings.append({"check": name, "ok": ok, "found": found, "cure": cure})
    return findings


def _holds(check: Callable[[], bool]) -> tuple[bool, str]:
    """Tell whether a check holds and, where our own error says why not, what it says."""
    try:
        return check(), ""
    except (ConfigError, KeyStoreError, ProtocolError) as error:
        return False, str(error)
    except (OSError, ValueError):
        return False, ""


def _python() -> bool:
    return _PYTHONS[0] <= sys.version_info[:2] < _PYTHONS[1]


def _lasts(home: Home) -> bool:
    certificate = x509.load_pem_x509_certificate((home.keys / "tls.pem").read_bytes())
    return certificate.not_valid_after_utc.timestamp() > time.time() + _RENEW_BEFORE_S


def _table(home: Home) -> bool:
    config = home.config()
    return (
        load_table(config.table, home.contract(), held_out_column=config.held_out_column).rows > 0
    )


def _reaches(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), _CONNECT_S):
        return True


def _space(directory: Path) -> bool:
    return shutil.disk_usage(directory).free >= _LEAST_FREE_BYTES
