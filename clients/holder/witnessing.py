"""The node's witness behind the standing link, where its compliance office has made its keys.

It runs in the holder's process, so that a partner opens no port for it. A node without
`keys/witness.key` says so to every ask; the keys may be made while the holder runs. What is
wrong with the witness never keeps the holder from answering: the hub then goes without this
cosignature, and says so.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from clients.holder.stream import RefusedError
from clients.keys import KeyStoreError
from clients.node.home import Home
from clients.witness.keys import WITNESS_KEY
from clients.witness.service import Witness, open_witness
from compliance.clock import Clock
from compliance.configuration import ConfigError
from compliance.errors import ComplianceError

_log = logging.getLogger("lianfang.witness")


class NodeWitness:
    """One node's witness, opened when it is first needed; for any number of threads."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root = root
        self._clock = clock
        self._lock = threading.Lock()
        self._witness: Witness | None = None

    def start(self) -> None:
        """Open the witness if its keys exist: from then on silent logs are noticed."""
        try:
            self._opened()
        except RefusedError:
            return
        except (ComplianceError, ConfigError, KeyStoreError, OSError) as error:
            _log.error("the witness cannot be opened: %s", error)

    def answer(self, body: bytes) -> bytes:
        """Answer one add-checkpoint request.

        Raises:
            RefusedError: this node has no witness.
            KeyStoreError, ConfigError, StorageError: its files cannot be used.
        """
        return self._opened().answer(body)

    def stop(self) -> None:
        """Give the witness's files back."""
        with self._lock:
            if self._witness is not None:
                self._witness.stop()
                self._witness = None

    def _opened(self) -> Witness:
        with self._lock:
            if self._witness is None:
                if not (Home(self._root).keys / WITNESS_KEY).exists():
                    raise RefusedError("no_witness", "this node has no witness")
                self._witness = open_witness(self._root, clock=self._clock)
                self._witness.start()
            return self._witness
