"""Certificates that a renewal has put out of use, each some time after its successor was seen.

    superseded/<serial>   name, and since when

A node's new certificate counts from the moment that it is issued. The ones that it was issued
before end only once the new one has been shown, on a connection to the API or to the link: an
answer that never arrived, or a crash at the node, costs it nothing. From then on they have
`GRACE_S`, so that what is connected with them finishes; tokens that are bound to them end at once.

Open streams are not cut: like an expired certificate, one of these opens no new one.

Durability: a document is kept before anything is refused because of it, and never replaced.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from compliance.clock import Clock
from compliance.state.errors import StateUnavailableError
from server.identity.issued import Issued
from server.keeping.partners import parse_object
from server.keeping.place import keeping_of

FOLDER = "superseded"
# Longer than any run, which shows its certificate when it begins.
GRACE_S = 86_400
_log = logging.getLogger("lianfang.identity")


class Superseded:
    """Which certificates have a successor that is in use; any number of threads, and of processes.

    Args:
        root: the hub's directory.
        grace_s: how long they count on.
    """

    def __init__(self, root: Path, clock: Clock, *, grace_s: int = GRACE_S) -> None:
        self._root = root
        self._issued = Issued(root)
        self._clock = clock
        self._grace_s = grace_s
        self._met: set[tuple[str, int]] = set()

    def meets(self, name: str, serial: int) -> None:
        """Note that a certificate was shown: what was issued to its holder before it ends."""
        if (name, serial) in self._met:
            return
        try:
            for earlier in self._issued.before(name, serial):
                line = {"name": name, "at": self._clock.now()}
                keeping_of(self._root).shelf(FOLDER).put_new(
                    f"{earlier:x}", json.dumps(line).encode()
                )
        except StateUnavailableError:
            # The old ones stay good a while longer; the next request tries again.
            _log.warning("certificates: could not note that one was renewed")
            return
        self._met.add((name, serial))

    def since(self, name: str, serial: int) -> int | None:
        """Return since when a certificate has a successor in use; None if it has none."""
        found = keeping_of(self._root).shelf(FOLDER).get(f"{serial:x}")
        if found is None:
            return None
        line = parse_object(found, f"{FOLDER}/{serial:x}")
        # An authority that a partner brought along may give a number that ours has given too.
        return int(line["at"]) if line.get("name") == name else None

    def has_ended(self, name: str, serial: int) -> bool:
        """Report whether a certificate counts no more because of its successor."""
        since = self.since(name, serial)
        return since is not None and self._clock.now() >= since + self._grace_s
