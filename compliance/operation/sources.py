"""Metrics that are read when they are asked for: the state of files, logs, books and streams.

A source that cannot be read is left out of one answer, and `..._source_up` says which; the others
are told all the same. What a source told is told again for as long as it is fresh, so that many
readers cost no more than one.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from cryptography import x509
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from compliance.operation.observing import outcome_of

Read = Callable[[], Iterable[Metric]]

_log = logging.getLogger("lianfang.metrics")


@dataclass(frozen=True, slots=True)
class Source:
    """One thing that is looked at, under a name, and for how long what it told is fresh."""

    name: str
    read: Read
    fresh_s: float = 1.0


class Sources(Collector):
    """Collects the metrics of several sources; for any number of threads.

    Args:
        prefix: of all names, such as `lianfang_hub`.
    """

    def __init__(self, prefix: str, sources: Iterable[Source]) -> None:
        self._prefix = prefix
        self._sources = tuple(sources)
        self._lock = threading.Lock()
        self._told: dict[str, tuple[float, list[Metric] | None]] = {}

    def describe(self) -> Iterable[Metric]:
        """Promise no names: nothing is read when this is registered."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Read every source that is not fresh, and return what all tell."""
        up = GaugeMetricFamily(
            f"{self._prefix}_source_up",
            "Whether what this source's metrics are read from could be read.",
            labels=["source"],
        )
        found: list[Metric] = []
        with self._lock:
            for source in self._sources:
                told = self._read(source)
                up.add_metric([source.name], float(told is not None))
                found += told or []
        return [*found, up]

    def _read(self, source: Source) -> list[Metric] | None:
        read_at, told = self._told.get(source.name, (float("-inf"), None))
        if monotonic() - read_at < source.fresh_s:
            return told
        try:
            now_told: list[Metric] | None = list(source.read())
        except Exception as error:  # noqa: BLE001  # whatever is wrong with one, the others are told
            now_told = None
            if told is not None or read_at == float("-inf"):
                _log.warning("metrics of %s cannot be read: %s", source.name, outcome_of(error))
        self._told[source.name] = (monotonic(), now_told)
        return now_told


def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    """Return a gauge with one value."""
    return GaugeMetricFamily(name, text, value=value)


def gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    """Return a gauge with a value for each of a label's."""
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def disk(prefix: str, directory: Path) -> Iterable[Metric]:
    """Yield how much of the disk under a directory is free."""
    usage = shutil.disk_usage(directory)
    yield gauge(f"{prefix}_disk_free_bytes", "Free bytes of the data directory's disk.", usage.free)
    yield gauge(f"{prefix}_disk_bytes", "All bytes of the data directory's disk.", usage.total)


def certificates(prefix: str, files: Mapping[str, Path], now: int) -> Iterable[Metric]:
    """Yield for how long each certificate lasts; of a file with several, the first."""
    left = {
        name: x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc.timestamp()
        - now
        for name, path in files.items()
        if path.exists()
    }
    yield gauges(
        f"{prefix}_certificate_left_seconds",
        "Seconds until a certificate ends; below 0 it has ended.",
        "certificate",
        left,
    )
