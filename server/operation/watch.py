"""Watching the hub: observers for what it does, metrics of how it stands."""

from __future__ import annotations

from compliance.operation.settings import OperationSettings
from compliance.operation.watching import Watch, start_watch
from server.epochs.holding import Holding
from server.home import HubHome
from server.keeping.place import keeping_of
from server.log.opening import HubLog
from server.lookup.asking import Holders
from server.lookups import TABLES
from server.operation.meter import PREFIX, HubMeter
from server.operation.state import HubState
from server.tables.store import Tables

SERVICE = "lianfang-hub"


def watch_hub(name: str, settings: OperationSettings) -> Watch:
    """Make the hub's observers; see `compliance.operation.watching.start_watch`.

    Args:
        name: of the hub.
    """
    return start_watch(settings, prefix=PREFIX, service=SERVICE, site=name, meter=HubMeter)


def state_of(home: HubHome, holding: Holding, standing: Holders, log: HubLog) -> HubState:
    """Return the state of a hub that is being served."""
    return HubState(
        root=home.root,
        authority=home.authority,
        clock=holding.clock,
        epochs=holding.store,
        book=holding.book,
        # For reading only: any number of these may stand over one directory.
        tables=Tables(
            home.root / TABLES,
            hub=home.settings().name,
            identities=holding.holder.identities,
            keeping=keeping_of(home.root),
        ),
        log=log,
        connected=standing.connected,
        partners=home.partners,
    )
