"""Telling every holder what all have signed, and what has ended, until it has confirmed.

Durability: who has confirmed what lies in delivered.json, written after the holder's
answer; a crash in between tells it once more, which changes nothing there. A holder that is
away keeps its share in its draft, so that nothing is lost by the wait.
"""

from __future__ import annotations

import json
import logging
import threading

from protocols.epoch.manifest import EpochManifest
from protocols.epoch.orders import ACTIVATE, END, EndOrder
from protocols.link import TransportError
from server.epochs.holding import EPOCHS, HUB, Holding
from server.keeping.partners import parse_object
from server.keeping.place import keeping_of
from server.standing.registry import HolderRefusedError, Standing

TIMEOUT_S = 30.0
# A holder that refuses is asked again, but not at every look.
AGAIN_AFTER_S = 60

DELIVERED = "delivered.json"

_log = logging.getLogger("lianfang.epochs")


class Deliveries:
    """What holders have still to be told; every method may be called by any thread."""

    def __init__(self, standing: Standing, holding: Holding) -> None:
        self._standing = standing
        self._holding = holding
        self._shelf = keeping_of(holding.home.root).shelf(EPOCHS)
        self._passing = threading.Lock()
        self._lock = threading.Lock()
        kept = self._shelf.current(DELIVERED)
        self._confirmed: dict[str, list[str]] = (
            {} if kept is None else parse_object(kept, DELIVERED)
        )
        self._refused: dict[tuple[str, str], tuple[int, str]] = {}

    def deliver(self) -> None:
        """Give every connected holder what it has not confirmed."""
        store, now = self._holding.store, self._holding.clock.now()
        with self._passing:
            for epoch in store.epochs():
                manifest = store.manifest(epoch)
                if self.has_ended(epoch):
                    self._tell(manifest, END, EndOrder(epoch).encode(), now)
                elif now < manifest.not_after + manifest.grace_s:
                    self._tell(manifest, ACTIVATE, store.signed(epoch).format(), now)

    def end(self, epoch: int) -> None:
        """Note, durably, that the shares of an epoch are to be destroyed."""
        self._note(_end_key(epoch), [])

    def has_ended(self, epoch: int) -> bool:
        """Whether the operator ended the epoch before its time."""
        return _end_key(epoch) in self._confirmed

    def waiting(self, manifest: EpochManifest) -> dict[str, str]:
        """Return the holders that have not confirmed, each with its reason if it gave one."""
        key = self._key(manifest)
        confirmed = self._confirmed.get(key, [])
        names = [name for name in manifest.record.holders if name not in {HUB, *confirmed}]
        return {name: self._refused.get((key, name), (0, ""))[1] for name in names}

    def _tell(self, manifest: EpochManifest, kind: str, body: bytes, now: int) -> None:
        key, connected = self._key(manifest), self._standing.connected()
        for name in self.waiting(manifest):
            refused_at, _ = self._refused.get((key, name), (-AGAIN_AFTER_S, ""))
            if name not in connected or now - refused_at < AGAIN_AFTER_S:
                continue
            try:
                self._standing.ask(name, kind, body, TIMEOUT_S)
            except HolderRefusedError as error:
                self._refused[key, name] = (now, error.text)
                _log.warning("%s", error)
            except TransportError as error:
                _log.warning("%s", error)
            else:
                self._refused.pop((key, name), None)
                self._note(key, [name])

    def _key(self, manifest: EpochManifest) -> str:
        if self.has_ended(manifest.epoch):
            return _end_key(manifest.epoch)
        return f"manifest-{manifest.epoch}-{manifest.digest.hex()}"

    def _note(self, key: str, names: list[str]) -> None:
        with self._lock:
            # Replaced and never changed, so that a reader needs no lock.
            after = dict(self._confirmed)
            after[key] = sorted({*after.get(key, []), *names})
            self._shelf.put(DELIVERED, json.dumps(after, indent=1).encode())
            self._confirmed = after


def _end_key(epoch: int) -> str:
    return f"end-{epoch}"
