"""A further process that serves a hub's API, on the same database and the same keys.

It answers all of the API: lookups, tables, agreements, enrolment, tokens, the log. Other key
holders and the partners' witnesses are asked by way of the process that serves the link, where
their streams end; while that one is away, evaluations are refused as where no holder is
connected, and everything else goes on. Epochs, runs and the link itself are that process's.

Of all processes one publishes the log, whichever comes first; when it dies another does.

What must be in its directory, shared with the other processes or copied from them: hub.json,
identity.key, authority/, holder/, log/ and log-second/. `holder/` changes when an epoch begins
or is refreshed: where it is copied, copy it again then. What ends is destroyed in the copy too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from compliance.backup.settled import check_settled
from compliance.configuration import ConfigError
from compliance.operation.settings import OperationSettings
from server.epochs.following import FollowedEpochs
from server.epochs.holding import open_holding
from server.home import HubHome
from server.keeping.place import keeping_of
from server.log.opening import HubLog, open_log
from server.lookups import serve_lookups
from server.operation.watch import state_of, watch_hub
from server.standing.forwarding import Forwarding


@dataclass(frozen=True, slots=True)
class Worker:
    """What is being served, and where."""

    port: int
    log: HubLog


@contextmanager
def serve_api(home: HubHome, *, port: int, metrics: str = "") -> Iterator[Worker]:
    """Serve the API beside the process that serves the hub, until the end of the block.

    Args:
        port: 0 takes a free one.
        metrics: where this process's own are served, as `metrics` of hub.json; empty: nowhere.

    Raises:
        ConfigError: the hub keeps its state where one process alone can serve it.
    """
    check_settled(home.root)
    settings = home.settings()
    if not keeping_of(home.root).is_shared:
        raise ConfigError(
            "hub.json: names no database, and from SQLite one process alone serves a hub; make "
            "the hub with --database, or serve it by `lianfang-hub serve` alone"
        )
    watched = OperationSettings(metrics, settings.otel)
    with ExitStack() as parts:
        links = Forwarding(
            f"{settings.host}:{settings.link_port}",
            authority=home.authority / "ca.crt",
            certificate=home.authority / "hub.pem",
            key=home.authority / "hub.key",
        )
        parts.callback(links.close)
        holding = open_holding(home)
        parts.callback(holding.close)
        watch = parts.enter_context(watch_hub(settings.name, watched))
        log = parts.enter_context(open_log(home, links=links))
        log.office.observer = watch.observer
        watch.serve(state_of(home, holding, links, log).sources())
        links.start()
        epochs = FollowedEpochs(holding)
        parts.callback(epochs.stop)
        epochs.start()
        served = parts.enter_context(
            serve_lookups(home, holding, None, links, log, observer=watch.observer, port=port)
        )
        if log.publishing is not None:
            log.publishing.start()
        yield Worker(served.port, log)
