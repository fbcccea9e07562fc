"""The hub's state as metrics: epoch, quotas, tables, log, witnesses, streams, runs, disk.

All is read from what the hub has open, when somebody asks. Organisations are named; of their
requests there are sums.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.metrics_core import Metric

from compliance.clock import Clock
from compliance.errors import UnknownEpochError
from compliance.evaluations.book import EvaluationBook
from compliance.evaluations.store import EpochStore
from compliance.operation.sources import Source, certificates, disk, gauge, gauges
from protocols.epoch.manifest import EpochManifest
from server.log.opening import HubLog
from server.log.outcomes import Standing
from server.log.publication import PublicationState
from server.log.reading import years_of
from server.operation.meter import PREFIX
from server.tables.store import Tables

_RUNS_FRESH_S = 15.0
_FILES_FRESH_S = 300.0
RUN_STATES = ("proposed", "running", "done", "refused", "failed")


@dataclass(frozen=True, slots=True)
class HubState:
    """What the hub has open, as far as its state is told.

    Args:
        root: the hub's directory; authority: that of its certificates.
        connected: names of the nodes whose standing streams are up.
        partners: names of all that have joined.
    """

    root: Path
    authority: Path
    clock: Clock
    epochs: EpochStore
    book: EvaluationBook
    tables: Tables
    log: HubLog
    connected: Callable[[], frozenset[str]]
    partners: Callable[[], Iterable[str]]

    def sources(self) -> list[Source]:
        """Return what is looked at when the metrics are read."""
        files = {"server": self.authority / "server.pem", "authority": self.authority / "ca.crt"}
        return [
            Source("epoch", self._epoch),
            Source("tables", self._tables),
            Source("log", self._log),
            Source("streams", self._streams),
            Source("runs", self._runs, _RUNS_FRESH_S),
            Source("disk", lambda: disk(PREFIX, self.root)),
            Source(
                "certificates",
                lambda: certificates(PREFIX, files, self.clock.now()),
                _FILES_FRESH_S,
            ),
        ]

    def _manifest(self) -> EpochManifest | None:
        try:
            return self.epochs.current(self.clock.now())
        except UnknownEpochError:
            return None

    def _epoch(self) -> Iterator[Metric]:
        manifest = self._manifest()
        left = 0 if manifest is None else manifest.not_after - self.clock.now()
        number = 0 if manifest is None else manifest.epoch
        yield gauge(f"{PREFIX}_epoch", "Number of the epoch in force, 0 if there is none.", number)
        yield gauge(
            f"{PREFIX}_epoch_left_seconds",
            "Seconds until the epoch in force ends, 0 if there is none.",
            left,
        )
        askers = {} if manifest is None else manifest.askers
        yield gauges(
            f"{PREFIX}_quota_elements",
            "Elements that an asker may have evaluated in the epoch.",
            "asker",
            {name: grant.quota for name, grant in askers.items()},
        )
        yield gauges(
            f"{PREFIX}_quota_used_elements",
            "Elements that an asker has had in the epoch, by the hub's own book.",
            "asker",
            {name: self.book.used(number, name) for name in askers},
        )

    def _tables(self) -> Iterator[Metric]:
        manifest, now = self._manifest(), self.clock.now()
        found = {}
        for name in manifest.contributors if manifest is not None else ():
            snapshot = self.tables.current(manifest.epoch, name) if manifest is not None else None
            if snapshot is not None:
                found[name] = snapshot.signed.header
        for field, text, values in (
            ("version", "Version of a contributor's table in force.",
             {name: header.version for name, header in found.items()}),
            ("records", "Records of a contributor's table in force.",
             {name: header.count for name, header in found.items()}),
            ("age_seconds", "Seconds since a contributor made its table in force.",
             {name: now - header.made_at for name, header in found.items()}),
        ):  # fmt: skip
            yield gauges(f"{PREFIX}_table_{field}", text, "contributor", values)

    def _log(self) -> Iterator[Metric]:
        log, publishing = self.log, self.log.publishing
        years = years_of(log.storage, log.prefix)
        yield gauge(
            f"{PREFIX}_log_entries",
            "Entries of the log of all years.",
            sum(log.storage.edge(year.origin).size for year in years),
        )
        yield gauge(
            f"{PREFIX}_log_published_entries",
            "Entries of the log that a published checkpoint covers.",
            sum(year.size for year in years),
        )
        yield gauge(
            f"{PREFIX}_log_quorum",
            "Witnesses that must cosign; 0 if none is listed.",
            0 if log.witnesses is None else log.witnesses.quorum,
        )
        if publishing is not None:
            yield from self._publication(publishing.state())

    def _publication(self, state: PublicationState) -> Iterator[Metric]:
        now, since = self.clock.now(), state.unwitnessed_since
        if state.published_at:
            yield gauge(
                f"{PREFIX}_log_checkpoint_age_seconds",
                "Seconds since the whole log was last found published.",
                now - state.published_at,
            )
        yield gauge(
            f"{PREFIX}_log_unpublished_seconds",
            "Seconds since when the log cannot be published, for want of a quorum or otherwise.",
            0 if since is None else now - since,
        )
        yield gauge(
            f"{PREFIX}_log_corrupt", "Whether the log is not what was written.", state.is_corrupt
        )
        yield gauge(f"{PREFIX}_log_alarms", "Alarms that nobody has closed.", state.alarms)
        yield gauges(
            f"{PREFIX}_witness_cosigned",
            "Whether a witness cosigned when it was last asked.",
            "witness",
            {item.name: item.standing is Standing.COSIGNED for item in state.witnesses},
        )
        yield gauges(
            f"{PREFIX}_witness_age_seconds",
            "Seconds since a witness last cosigned, where it has since the start.",
            "witness",
            {item.name: now - item.at for item in state.witnesses if item.at},
        )

    def _streams(self) -> Iterator[Metric]:
        connected = self.connected()
        names = sorted(connected | set(self.partners()))
        yield gauges(
            f"{PREFIX}_stream_connected",
            "Whether the standing stream of a node is up.",
            "partner",
            {name: name in connected for name in names},
        )

    def _runs(self) -> Iterator[Metric]:
        states = Counter(_run_state(path) for path in (self.root / "runs").glob("*/"))
        yield gauges(
            f"{PREFIX}_runs",
            "Runs by where they stand.",
            "state",
            {name: states[name] for name in (*RUN_STATES, "unreadable")},
        )


def _run_state(folder: Path) -> str:
    """Return where a run stands; one without a state has been proposed and not begun."""
    try:
        state: Any = json.loads((folder / "state.json").read_text())["state"]
    except FileNotFoundError:
        return "proposed"
    except (OSError, ValueError, KeyError, TypeError):
        return "unreadable"
    return state if state in RUN_STATES else "unreadable"
