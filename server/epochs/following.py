"""Epochs in a worker that has a directory of its own: what ended elsewhere ends here.

The process that serves the link begins, refreshes and ends epochs. A worker destroys its copy
of a share as soon as the hub keeps that its epoch has ended, and when its time is over; until
it has, it would go on to answer. A share that it lacks it cannot get by itself, since shares
are never in the database: it says so, for somebody to copy `holder/` again.
"""

from __future__ import annotations

import logging
import re
import threading

from compliance.configuration import ConfigError
from compliance.errors import ComplianceError, UnknownEpochError
from server.epochs.delivery import DELIVERED
from server.epochs.holding import EPOCHS, Holding
from server.keeping.partners import parse_object
from server.keeping.place import keeping_of

LOOK_EVERY_S = 0.5
_ENDED = re.compile(r"end-([0-9]{1,16})")
_MADE = re.compile(r"manifest-([0-9]{1,16})-([0-9a-f]{64})")
_log = logging.getLogger("lianfang.epochs")


class FollowedEpochs:
    """Keeps a worker's copies of epochs in order from `start` to `stop`."""

    def __init__(self, holding: Holding) -> None:
        self._holding = holding
        self._told: set[bytes] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="epochs", daemon=True)

    def start(self) -> None:
        """Look once, before anything is answered, and again and again from here on."""
        self.look()
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """Destroy the shares of what has ended, and tell what is missing.

        Raises:
            StateUnavailableError: what the hub keeps cannot be read.
        """
        store = self._holding.store
        store.destroy_expired(self._holding.clock.now())
        kept = keeping_of(self._holding.home.root).shelf(EPOCHS).get(DELIVERED)
        keys = {} if kept is None else parse_object(kept, DELIVERED)
        newest: dict[int, str] = {}
        for key in keys:  # in the order in which they were noted
            if (ended := _ENDED.fullmatch(key)) is not None:
                store.destroy_share(int(ended[1]))
            elif (made := _MADE.fullmatch(key)) is not None:
                newest[int(made[1])] = made[2]
        for epoch, digest in newest.items():
            self._compare(epoch, bytes.fromhex(digest))

    def _compare(self, epoch: int, digest: bytes) -> None:
        try:
            found = self._holding.store.manifest(epoch).digest
        except UnknownEpochError:
            found = None
        if found != digest and digest not in self._told:
            self._told.add(digest)
            _log.error(
                "epoch %d: its manifest and share are not here as all have signed them; copy "
                "holder/ from the directory of `lianfang-hub serve`",
                epoch,
            )

    def _follow(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            try:
                self.look()
            except (ComplianceError, ConfigError, OSError) as error:
                _log.error("epochs: %s", error)
