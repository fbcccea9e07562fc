"""What `lianfang node doctor` looks at, each with the way to mend it."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

from cryptography import x509

from clients.keys import CERTIFICATE, KeyStoreError, credentials, load_keys
from clients.node.home import Home
from clients.node.table import load_table
from clients.operation.checks import watching_checks
from compliance.checkup import Check, has_space, python_fits, run_checks
from compliance.configuration import ConfigError
from protocols.errors import ProtocolError

_RENEW_BEFORE_S = 14 * 86_400
_CONNECT_S = 3.0


def examine(directory: Path) -> list[dict[str, Any]]:
    """Run every check; one that fails does not stop the others."""
    home = Home(directory)
    checks: list[Check] = [
        ("Python is 3.11 to 3.13", python_fits, "install Lianfang with Python 3.11, 3.12 or 3.13"),
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
            f"run lianfang node renew {directory}; if it has run out already, join again by a code",
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
            "the hub's API answers",
            lambda: _reaches(home.config().api),
            "check the address in node.json and that the hub is being served",
        ),
        (
            "one gibibyte of disk is free",
            lambda: has_space(directory),
            "free some space or move the directory",
        ),
    ]
    return run_checks(
        [*checks, *watching_checks(home)], (ConfigError, KeyStoreError, ProtocolError)
    )


def _lasts(home: Home) -> bool:
    credentials(home.keys)  # finishes a renewal that a crash broke off
    certificate = x509.load_pem_x509_certificate((home.keys / CERTIFICATE).read_bytes())
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
