"""Watching one process: its observers, its registry of metrics, and where both are told.

Every `Watch` has a registry of its own, so that a process may have several, as tests do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics

from compliance.configuration import ConfigError
from compliance.operation.observing import Observes, together
from compliance.operation.scraping import MetricsServer
from compliance.operation.settings import OperationSettings
from compliance.operation.sources import Source, Sources

if TYPE_CHECKING:
    from compliance.operation.tracing import Tracing

# When a series began doubles their number and tells nobody anything.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it untyped


@dataclass(slots=True)
class Watch:
    """What watches one process, from `start_watch` to `close`.

    Args:
        prefix: of the names of all metrics.
        observer: is to be handed to whatever does work here.
        registry: None where no metrics are served.
        tracing: None where no collector of spans is configured.
    """

    prefix: str
    settings: OperationSettings
    observer: Observes
    registry: CollectorRegistry | None = None
    tracing: Tracing | None = None
    _ending: ExitStack = field(default_factory=ExitStack, repr=False)

    def serve(self, sources: Sequence[Source]) -> int:
        """Serve the metrics, with those of these sources; return the port, 0 for none.

        Raises:
            TransportError: the address is taken.
        """
        if self.registry is None:
            return 0
        self.registry.register(Sources(self.prefix, sources))
        server = MetricsServer(self.registry, self.settings.metrics)
        port = server.start()
        self._ending.callback(server.stop)
        return port

    def close(self) -> None:
        """End serving metrics, and send the spans that wait."""
        self._ending.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def start_watch(
    settings: OperationSettings,
    *,
    prefix: str,
    service: str,
    site: str,
    meter: Callable[[CollectorRegistry], Observes],
) -> Watch:
    """Make the observers that the settings ask for; nothing is served yet.

    Args:
        prefix: of the names of all metrics; service, site: names in spans.
        meter: makes the observer that counts into a registry.

    Raises:
        ConfigError: spans are asked for, and what sends them is not installed.
    """
    observers: list[Observes] = []
    registry = None
    tracing = None
    ending = ExitStack()
    if settings.otel:
        tracing = _tracing(service, site, settings.otel)
        ending.callback(tracing.close)
        observers.append(tracing)
    if settings.metrics:
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        observers.append(meter(registry))
    return Watch(prefix, settings, together(observers), registry, tracing, ending)


def _tracing(service: str, site: str, collector: str) -> Tracing:
    try:
        from compliance.operation.tracing import Tracing  # noqa: PLC0415  an optional extra
    except ImportError as error:
        raise ConfigError(
            "otel: OpenTelemetry is not installed; install lianfang[otel], or empty the field"
        ) from error
    return Tracing(service, site, collector)
