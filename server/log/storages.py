"""Where the hub's log lies: SQLite in the hub's directory, or the PostgreSQL of hub.json.

A log never changes its storage by itself: where log/log.sqlite holds a log, a hub whose
hub.json names a server is not started on the empty one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from compliance.configuration import ConfigError
from compliance.files import DIRECTORY_MODE
from compliance.log.sqlstore import SqlStorage
from compliance.office.opening import FOLDER, STORAGE
from server.database import address_of
from server.home import HubHome


def storage_of(home: HubHome, *, environment: Mapping[str, str] | None = None) -> SqlStorage:
    """Open the storage of a hub's log; the caller closes it.

    Whether the log has begun is told by `bool(storage.origins())`, alike for both kinds.

    Args:
        environment: holds the password, if the setting names a variable; the process's own
            if None.

    Raises:
        ConfigError: the setting is wrong, or the log lies elsewhere. StorageError: the
            database cannot be reached.
    """
    setting = home.settings().database
    path = home.root / FOLDER / STORAGE
    if not setting:
        path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        return SqlStorage.open(f"sqlite:///{path}")
    _check_not_elsewhere(path)
    return SqlStorage.open(address_of(setting, os.environ if environment is None else environment))


def _check_not_elsewhere(path: Path) -> None:
    if path.exists():
        raise ConfigError(
            f"hub.json: database names a server, but the hub's log lies in {FOLDER}/{STORAGE}; "
            "take the setting out, or make a new hub with it"
        )
