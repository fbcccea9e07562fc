"""The hub's part in lookups: its share of every key, the tables, and the HTTPS API.

All of it lives in the hub's process, beside the relay: evaluation leaves Python for the
whole of a batch, and the other holders are asked over the streams that end here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from server.api.app import create_app
from server.api.parts import Parts
from server.api.running import ApiServer
from server.epochs.holding import Holding, identities_of
from server.epochs.service import Epochs
from server.home import HubHome
from server.lookup.service import Evaluations
from server.standing.registry import Standing
from server.tables.store import Tables

TABLES = "tables"


@dataclass(frozen=True, slots=True)
class Lookups:
    """What is being served, and where."""

    port: int


@contextmanager
def serve_lookups(
    home: HubHome, holding: Holding, epochs: Epochs, standing: Standing
) -> Iterator[Lookups]:
    """Serve the API and keep the epochs in order, until the end of the block."""
    settings = home.settings()
    identities = identities_of(home)
    parts = Parts(
        hub=settings.name,
        evaluations=Evaluations(
            holder=holding.holder,
            holders=standing,
            store=holding.store,
            book=holding.book,
            identity=home.identity_key(),
            clock=holding.clock,
        ),
        epochs=holding.store,
        tables=Tables(home.root / TABLES, hub=settings.name, identities=identities),
        holders=standing,
        identities=identities,
        identity=home.identity_key(),
        clock=holding.clock,
    )
    server = ApiServer(create_app(parts), hub=settings.name)
    port = server.start(
        settings.host,
        settings.api_port,
        authority=home.authority / "ca.crt",
        certificate=home.authority / "server.pem",
        key=home.authority / "server.key",
    )
    epochs.start()
    try:
        yield Lookups(port)
    finally:
        epochs.stop()
        server.stop()
        parts.close()
