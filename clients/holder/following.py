"""Keeping a node's agreements those of the hub, as long as its holder runs.

What another party signs or revokes is known here within a minute, so that a revocation stops
this node's part as well. A hub that is away changes nothing: what is kept here stays in force
until its time runs out or somebody revokes it here.
"""

from __future__ import annotations

import logging
import threading

from clients.audit.syncing import sync_agreements
from clients.keys import KeyStoreError
from clients.node.home import Home
from compliance.backoff import Backoff
from compliance.configuration import ConfigError
from compliance.errors import ComplianceError
from protocols.errors import ProtocolError

EVERY_S = 60.0
# After an exchange that failed: a partner that has just come up is waited for by the others.
FIRST_S = 3.0
_STOP_S = 2.0

_log = logging.getLogger("lianfang.agreements")


class AgreementFollower:
    """Exchanges agreements with the hub every minute, and whenever it is told to look."""

    def __init__(self, home: Home, *, every_s: float = EVERY_S) -> None:
        self._home = home
        self._every_s = every_s
        self._stop = threading.Event()
        self._look = threading.Event()
        # An exchange that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._follow, name="agreements", daemon=True)

    def start(self) -> None:
        """Follow in the background."""
        self._thread.start()

    def look(self) -> None:
        """Have an exchange now, as when the hub has just come back."""
        self._look.set()

    def stop(self) -> None:
        """End; an exchange under way is waited for a moment only."""
        self._stop.set()
        self._look.set()
        self._thread.join(_STOP_S)

    def _follow(self) -> None:
        failed = ""
        again = Backoff(min(FIRST_S, self._every_s), self._every_s)
        while not self._stop.is_set():
            try:
                found = sync_agreements(self._home)
            except (ConfigError, ComplianceError, ProtocolError, KeyStoreError, OSError) as error:
                # Once for each reason: a hub that is away for a night is no news every minute.
                if str(error) != failed:
                    _log.error("agreements cannot be exchanged: %s", error)
                failed = str(error)
                wait_s = again.wait_s()
            else:
                failed = ""
                wait_s = self._every_s
                if found.reached:
                    again.reset()
                else:
                    wait_s = again.wait_s()
                for digest in found.fetched:
                    _log.info("agreement %s: something new came from the hub", digest[:12])
                for digest, reason in found.refused:
                    _log.warning("agreement %s: %s", digest[:12], reason)
            self._look.wait(wait_s)
            self._look.clear()
