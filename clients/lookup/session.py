"""A node's view of private lookup: the epoch in force, its tables, cache and evaluator.

    lookup/synced.json   when tables were last brought up to date, and for which epoch

What the hub cannot be asked for at the moment is served from disk: a kept manifest while
it is valid, tables as old as they are. Whether that is fresh enough is for the light to say.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from clients.keys import credentials
from clients.lookup.acknowledging import Acknowledging
from clients.lookup.api import HubApi, HubRefusedError
from clients.lookup.cache import OutputCache
from clients.lookup.evaluating import BATCH, Evaluation, Evaluator, OnProgress
from clients.lookup.logged import NotLoggedError
from clients.lookup.secrets import Random
from clients.lookup.tables import Change, Table, TableStore
from clients.lookup.trust import ForkedEpochError, Trust
from clients.node.files import store_json
from clients.node.home import Home
from compliance.clock import Clock, SystemClock
from compliance.configuration import ConfigError, read_object
from compliance.errors import ComplianceError, UnknownEpochError
from protocols.epoch.manifest import EpochManifest
from protocols.errors import ProtocolError
from protocols.group.select import load_group
from protocols.link import TransportError
from protocols.lookup.request import Purpose
from protocols.oprf.errors import WrongEpochError
from protocols.oprf.suite import Suite

_CLOCK = SystemClock()


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch as this node works in it."""

    manifest: EpochManifest
    cache: OutputCache
    evaluator: Evaluator


class Lookup:
    """Opens what lookups need, once, and keeps it up to date.

    Raises:
        ConfigError: the node has not joined a hub that offers lookups.
    """

    def __init__(
        self,
        home: Home,
        *,
        clock: Clock = _CLOCK,
        random: Random = os.urandom,
        batch: int = BATCH,
    ) -> None:
        address = home.config().api
        if not address:
            raise ConfigError("node.json: no address of the hub's API; run `lianfang node join`")
        self.home = home
        self.clock = clock
        self.random = random
        self.trust = Trust(home)
        self.api = HubApi(address, credentials(home.keys))
        self._batch = batch
        self._store = TableStore(home, self.trust)
        self._acknowledging = Acknowledging(home, self.trust)
        self._epochs: dict[bytes, Epoch] = {}
        self._last: Epoch | None = None
        self._current: EpochManifest | None = None
        self.unacknowledged = ""  # why a contributor could not be told of its table, if so

    def close(self) -> None:
        """Give the connections back."""
        self.api.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def epoch(self) -> Epoch:
        """Return the epoch in force, as far as this node knows; asks the hub only if it must.

        Raises:
            TransportError: none is known, and the hub cannot be reached.
            NotLoggedError: none is known, and the hub's is not in its log.
        """
        now = self.clock.now()
        kept = self._current
        if kept is None or not kept.covers(now):
            kept = self.trust.in_force(now)
        if kept is None or not kept.covers(now):
            try:
                kept = self._fetched(now)
            except NotLoggedError:
                # Within its grace the one before, which is logged, is still answered.
                if kept is None:
                    raise
        self._current = kept
        return self._open(kept)

    def renew(self) -> Epoch:
        """Return the epoch in force as the hub says it, for who was told of another one.

        Raises:
            TransportError: the hub cannot be reached.
            InvalidProofError: the manifest is not signed by all its holders.
            NotLoggedError: the hub does not show that it is in its log.
        """
        self._current = self.trust.manifest(self.api, self.clock.now())
        return self._open(self._current)

    def sync(self) -> list[Change]:
        """Fetch the manifest and every newer table.

        Raises:
            TransportError: the hub stays away.
            InvalidProofError: something was not signed by whom it must be.
            NotLoggedError: the hub does not show that the epoch is in its log.
        """
        now = self.clock.now()
        self._current = self._fetched(now)
        changes = self._store.sync(self.api, self._current, now)
        store_json(self._synced, {"at": now, "epoch": self._current.epoch})
        applied = self._store.tables(self._current).values()
        self.unacknowledged = self._acknowledging.tell(
            self.api, (table.header for table in applied), now
        )
        self.forget(now)
        return changes

    def forget(self, now: int) -> None:
        """Remove tables and outputs of epochs that are over; queries stay, for audits."""
        for epoch in self.trust.over(now):
            self._store.forget(epoch)
            OutputCache.forget(self.home, epoch)

    def evaluate(
        self,
        canonical: Sequence[bytes],
        *,
        purpose: Purpose,
        case: str = "",
        on_progress: OnProgress | None = None,
    ) -> Evaluation:
        """Evaluate identifiers into the cache; see `Evaluator.run`.

        A manifest that the holders have replaced meanwhile is fetched, and the rest is
        asked once more: what is in the cache by then stays evaluated if the key is the same.
        """
        for is_last in (False, True):
            epoch = self.epoch()
            rows = epoch.cache.positions(epoch.cache.tokens(canonical))
            missing = [item for item, row in zip(canonical, rows, strict=True) if row < 0]
            try:
                return epoch.evaluator.run(
                    missing,
                    purpose=purpose,
                    case=case,
                    on_progress=on_progress,
                    on_outputs=epoch.cache.add,
                )
            except HubRefusedError as error:
                if is_last or error.code != WrongEpochError.code:
                    raise
                self.renew()
        raise AssertionError("unreachable: the last try returns or raises")

    def freshen(self, refresh_s: int) -> str:
        """Sync if the last time is long ago; returns what went wrong with it, or nothing.

        What is on disk stays in use as long as it is valid. A forked epoch alone ends that.

        Raises:
            ForkedEpochError: holders signed two manifests for one epoch.
        """
        if 0 <= self.clock.now() - self.synced_at() < refresh_s:
            return ""
        try:
            self.sync()
        except ForkedEpochError:
            raise
        except (
            TransportError,
            HubRefusedError,
            ConfigError,
            ProtocolError,
            ComplianceError,
        ) as error:
            return str(error)
        return ""

    def synced_at(self) -> int:
        """Return when tables were last brought up to date; 0 for never."""
        if not self._synced.exists():
            return 0
        at = read_object(self._synced).get("at")
        return at if isinstance(at, int) else 0

    def tables(self, epoch: Epoch) -> dict[str, Table]:
        """Return the tables in force for an epoch, by contributor.

        The epoch is the caller's: another may come into force between two looks at it, and
        its tables tell nothing about this one's roots.
        """
        return self._store.tables(epoch.manifest)

    def _fetched(self, now: int) -> EpochManifest:
        # Who has an epoch to work in does not wait for the hub's log: the next sync comes.
        patient = self.trust.in_force(now) is None
        try:
            return self.trust.manifest(self.api, now, patient=patient)
        except (TransportError, HubRefusedError) as error:
            # Past its end but within its grace, a kept manifest is still answered; nobody may
            # have begun the next epoch yet.
            if isinstance(error, HubRefusedError) and error.code != UnknownEpochError.code:
                raise
            kept = self.trust.in_force(now)
            if kept is None:
                raise
            return kept

    def _open(self, manifest: EpochManifest) -> Epoch:
        if self._last is not None and self._last.manifest is manifest:
            return self._last  # to name a manifest by its digest it is written anew
        found = self._epochs.get(manifest.digest)
        if found is None:
            suite = Suite(load_group())
            evaluator = Evaluator(
                self.home, self.api, manifest, suite, self.clock, self.random, batch=self._batch
            )
            cache = OutputCache(self.home, manifest.epoch, self.random)
            found = self._epochs[manifest.digest] = Epoch(manifest, cache, evaluator)
        self._last = found
        return found

    @property
    def _synced(self) -> Path:
        return self.home.root / "lookup" / "synced.json"
