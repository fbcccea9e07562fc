"""A node's state as metrics: agreement, budget, epoch, quotas, stream, log, disk.

All is read from the node's files when somebody asks; nothing is written. Organisations are
named, and runs are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

from prometheus_client.metrics_core import Metric

from clients.audit.home import AuditHome
from clients.holder.home import HolderHome
from clients.keys import AUTHORITY, CERTIFICATE
from clients.node.budget import budget
from clients.operation.meter import PREFIX
from compliance.clock import Clock
from compliance.entries import EVERY_RECIPIENT
from compliance.errors import UnknownEpochError
from compliance.evaluations.book import BOOK
from compliance.log.sqlstore import SqlStorage
from compliance.office.opening import FOLDER, STORAGE
from compliance.operation.sources import Source, certificates, disk, gauge, gauges

_AGREEMENT_FRESH_S = 15.0
_LOG_FRESH_S = 5.0
# Every look takes the ledger's lock and prices all that was ever charged.
_BUDGET_FRESH_S = 60.0
_FILES_FRESH_S = 300.0
# In place of the sign for all recipients together.
_ALL = "all"


@dataclass(frozen=True, slots=True)
class NodeState:
    """What is told of one node.

    Args:
        connected: whether the standing stream to the hub is up.
    """

    home: HolderHome
    clock: Clock
    connected: Callable[[], bool]

    def sources(self) -> list[Source]:
        """Return what is looked at when the metrics are read."""
        node = self.home.node
        files = {"node": node.keys / CERTIFICATE, "authority": node.keys / AUTHORITY}
        return [
            Source("stream", self._stream),
            Source("epoch", self._epoch),
            Source("agreements", self._agreements, _AGREEMENT_FRESH_S),
            Source("budget", self._budget, _BUDGET_FRESH_S),
            Source("log", self._log, _LOG_FRESH_S),
            Source("disk", lambda: disk(PREFIX, node.root)),
            Source(
                "certificates",
                lambda: certificates(PREFIX, files, self.clock.now()),
                _FILES_FRESH_S,
            ),
        ]

    def _stream(self) -> Iterator[Metric]:
        yield gauge(
            f"{PREFIX}_stream_connected",
            "Whether the standing stream to the hub is up.",
            self.connected(),
        )

    def _epoch(self) -> Iterator[Metric]:
        store, now = self.home.store(), self.clock.now()
        try:
            manifest = store.current(now)
        except UnknownEpochError:
            manifest = None
        yield gauge(
            f"{PREFIX}_epoch",
            "Number of the epoch in force, 0 if there is none.",
            0 if manifest is None else manifest.epoch,
        )
        yield gauge(
            f"{PREFIX}_epoch_left_seconds",
            "Seconds until the epoch in force ends, 0 if there is none.",
            0 if manifest is None else manifest.not_after - now,
        )
        if manifest is None:
            return
        used = dict.fromkeys(manifest.askers, 0)
        if (self.home.root / BOOK).exists():  # opening one that is not there would make it
            with closing(self.home.book()) as book:
                used = {name: book.used(manifest.epoch, name) for name in manifest.askers}
        yield gauges(
            f"{PREFIX}_quota_elements",
            "Elements that an asker may have evaluated here in the epoch.",
            "asker",
            {name: grant.quota for name, grant in manifest.askers.items()},
        )
        yield gauges(
            f"{PREFIX}_quota_used_elements",
            "Elements that an asker has had here in the epoch.",
            "asker",
            used,
        )

    def _agreements(self) -> Iterator[Metric]:
        now = self.clock.now()
        found = AuditHome(self.home.node).agreements().in_force(now)
        yield gauge(
            f"{PREFIX}_agreements_in_force",
            "Agreements in force here: 0 or 1.",
            found is not None,
        )
        yield gauge(
            f"{PREFIX}_agreement_left_seconds",
            "Seconds until the agreement in force ends, 0 if there is none.",
            0 if found is None else found.not_after - now,
        )

    def _budget(self) -> Iterator[Metric]:
        found = budget(self.home.node.root, now=self.clock.now())
        scopes = {
            _ALL if item["recipient"] == EVERY_RECIPIENT else item["recipient"]: item
            for item in found.fields()["scopes"]
        }
        yield gauges(
            f"{PREFIX}_budget_epsilon",
            "The cap that counts for what a recipient may learn, in epsilon; all is their sum.",
            "recipient",
            {name: item["cap"] for name, item in scopes.items()},
        )
        yield gauges(
            f"{PREFIX}_budget_epsilon_left",
            "What is left under that cap, open runs taken off.",
            "recipient",
            {name: item["remaining"] for name, item in scopes.items()},
        )
        yield gauge(
            f"{PREFIX}_runs_open", "Runs that hold a part of the budget.", len(found.open_runs)
        )

    def _log(self) -> Iterator[Metric]:
        path = self.home.node.root / FOLDER / STORAGE
        size = 0
        if path.exists():
            with closing(SqlStorage.open(f"sqlite:///{path}")) as storage:
                size = sum(storage.edge(origin).size for origin in storage.origins())
        yield gauge(f"{PREFIX}_log_entries", "Entries of the node's own log of all years.", size)
