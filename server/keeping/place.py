"""Where a hub keeps what changes while it is served, opened once in a process.

    HUB/state.sqlite           of a hub that has its disk for itself
    hub.json `database`        one PostgreSQL for the log and all of this, and any number of
                               processes that serve the API

    partners       <name>.json   what a partner handed in to join; whether it was revoked
    issued         <serial>      whose certificate that is, and until when
    revoked        revoked.crl   serial numbers that count no more, signed by the authority
    superseded     <serial>      since when its successor is in use
    trusted        <name>.json   the authority of a partner's own, for its certificates alone
    enrolment      invitations, the requests that came by them, their welcomes
    agreements     see `compliance.agreement.store`; sent/<digest>.<party>: who sent it first
    policies, documents          see `compliance.policy.store` and `compliance.office`
    epochs         contributors.json, delivered.json: see `server.epochs`
    acknowledgements             <epoch>/<contributor>/<reader>.signed
    tables/<epoch>/<contributor> the published versions; on PostgreSQL alone
    journal `holder/book`        every request that the hub admitted: its charges

Keys and shares of keys lie in the hub's directory and nowhere else.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Final

from compliance.configuration import ConfigError, read_object
from compliance.evaluations.reading import JOURNAL, STATE
from compliance.state.database import StateDatabase, open_state
from compliance.state.journal import DatabaseJournal
from server.database import address_of
from server.keeping.locks import DatabaseLocks, FileLocks, Locks
from server.keeping.partners import FOLDER as PARTNERS
from server.keeping.partners import Partners
from server.keeping.shelves import FRESH_S, Documents, DocumentShelf
from server.keeping.takeover import take_over

LOCKS: Final = "locks"
# One program serves one hub; tests and tools look at many, whose files must not stay open.
_MOST = 32
_lock = threading.Lock()
_opened: OrderedDict[tuple[Path, str], Keeping] = OrderedDict()
_settings: dict[Path, _Setting] = {}


@dataclass(frozen=True, slots=True)
class _Setting:
    """The setting `database` as it was read, and when the file was last known to be the same."""

    stamp: object
    value: str
    sure_at: float


@dataclass(slots=True)
class Keeping:
    """What one hub keeps; for any number of threads.

    Args:
        is_shared: whether processes with directories of their own may use it too.
    """

    root: Path
    database: StateDatabase = field(repr=False)
    locks: Locks = field(repr=False)
    is_shared: bool
    partners: Partners = field(init=False, repr=False)
    _shelves: dict[str, DocumentShelf] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Put the registers over their shelves."""
        self.partners = Partners(self.shelf(PARTNERS))

    def shelf(self, folder: str) -> DocumentShelf:
        """Return the shelf of a folder: one for all of this process, so that all see a change."""
        found = self._shelves.get(folder)
        if found is None:
            found = self._shelves.setdefault(folder, DocumentShelf(self.documents(folder)))
        return found

    def documents(self, folder: str) -> Documents:
        """Return the documents of a folder themselves, which are asked of the database."""
        return self.database.documents(folder)

    def book(self) -> DatabaseJournal:
        """Open the journal of the requests that the hub admitted."""
        return self.database.journal(JOURNAL)

    def close(self) -> None:
        """Give the connections back; what is used again connects again."""
        self.database.close()
        self.locks.close()


def keeping_of(root: Path) -> Keeping:
    """Return what a hub keeps, opened at the first time, with what older versions left as files.

    Raises:
        ConfigError: this is no hub's directory, or the database cannot be used.
        StateUnavailableError: the database cannot be reached.
    """
    setting = _setting(root)
    key = root.absolute(), setting
    with _lock:
        found = _opened.get(key)
        if found is None:
            found = _opened[key] = _open(root, setting)
            while len(_opened) > _MOST:
                _, oldest = _opened.popitem(last=False)
                oldest.close()
        else:
            _opened.move_to_end(key)
    return found


def _open(root: Path, setting: str) -> Keeping:
    path, files = root / STATE, FileLocks(root / LOCKS)
    if not setting:
        made = Keeping(root, open_state(path), files, is_shared=False)
    elif path.exists():
        raise ConfigError(
            f"hub.json: database names a server, but what the hub keeps lies in {STATE}; take "
            "the setting out, or make a new hub with it"
        )
    else:
        address = address_of(setting, os.environ)
        made = Keeping(root, open_state(address), DatabaseLocks(address), is_shared=True)
    try:
        with files.holding("take-over"):
            take_over(root, made.database, JOURNAL)
    except BaseException:
        made.close()
        raise
    return made


def _setting(root: Path) -> str:
    """Return the setting `database`, which is asked often.

    The file is looked at when the last look is older than `FRESH_S`, and read anew when it is
    another.
    """
    known, now = _settings.get(root), monotonic()
    if known is not None and now - known.sure_at < FRESH_S:
        return known.value
    path = root / "hub.json"
    try:
        found = path.stat()
        stamp = found.st_ino, found.st_size, found.st_mtime_ns
    except OSError:
        stamp = None
    if known is not None and stamp is not None and known.stamp == stamp:
        value = known.value
    else:
        value = read_object(path, cure="run `lianfang-hub init` first").get("database", "")
        if not isinstance(value, str):
            raise ConfigError("hub.json: database must be text; correct it")
    _settings[root] = _Setting(stamp, value, now)
    return value
