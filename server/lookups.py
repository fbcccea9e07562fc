"""The hub's part in lookups: its share of every key, the tables, and the HTTPS API.

All of it lives in the hub's process, beside the relay: evaluation leaves Python for the
whole of a batch, and the other holders are asked over the streams that end here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from compliance.errors import UnknownEpochError
from compliance.evaluations.evidence import read_evidence
from compliance.evaluations.store import EpochStore
from compliance.operation.observing import UNOBSERVED, Observes
from server.addresses import parse_proxies
from server.agreements.service import Agreements
from server.api.app import create_app
from server.api.parts import Parts
from server.api.running import ApiServer
from server.enrolment.service import Enrolment
from server.epochs.holding import FOLDER, HUB, Holding, identities_of
from server.epochs.service import Epochs
from server.home import HubHome, unix_now
from server.keeping.place import keeping_of
from server.log.opening import HubLog
from server.lookup.asking import Holders
from server.lookup.service import Evaluations
from server.operation.asking import observed_holders
from server.operation.requests import Roles, observed
from server.tables.store import Tables
from server.tokens.signing import TokenKey
from server.tokens.tokens import Tokens

TABLES = "tables"


class Links(Holders, Protocol):
    """The key holders elsewhere, until the end."""

    def close(self) -> None:
        """End all asks, and begin none any more."""


@dataclass(frozen=True, slots=True)
class Lookups:
    """What is being served, and where."""

    port: int


@contextmanager
def serve_lookups(
    home: HubHome,
    holding: Holding,
    epochs: Epochs | None,
    standing: Links,
    log: HubLog,
    *,
    observer: Observes = UNOBSERVED,
    port: int | None = None,
) -> Iterator[Lookups]:
    """Serve the API and keep the epochs in order, until the end of the block.

    Args:
        epochs: None in a worker, which leaves them to the process that serves the link.
        port: another one than that of the settings; 0 takes a free one.
    """
    settings, keeping = home.settings(), keeping_of(home.root)
    identities = identities_of(home)
    enrolment = Enrolment(home, log.office, clock=holding.clock)
    parts = Parts(
        hub=settings.name,
        contact=settings.contact,
        evaluations=Evaluations(
            holder=holding.holder,
            holders=observed_holders(standing, observer),
            store=holding.store,
            book=holding.book,
            journal=log.journal,
            identity=home.identity_key(),
            clock=holding.clock,
            observer=observer,
        ),
        epochs=holding.store,
        tables=Tables(
            home.root / TABLES, hub=settings.name, identities=identities, keeping=keeping
        ),
        agreements=Agreements(
            log.office.agreements,
            hub=settings.name,
            clock=holding.clock,
            alone=partial(keeping.locks.holding, "agreements"),
        ),
        log=log,
        holders=standing,
        identities=identities,
        identity=home.identity_key(),
        clock=holding.clock,
        enrolment=enrolment,
        tokens=Tokens(
            TokenKey(home.authority).made(),
            issuer=settings.issuer,
            clock=holding.clock,
            is_superseded=enrolment.admission.is_superseded,
        ),
    )
    app = observed(create_app(parts), observer, Roles(log.office))
    server = ApiServer(
        app,
        hub=settings.name,
        admission=enrolment.admission,
        proxies=parse_proxies(settings.proxies),
    )
    with ExitStack() as ending:
        ending.callback(parts.close)
        # The streams end before the threads that wait for answers over them.
        ending.callback(standing.close)
        found = server.start(
            settings.host,
            settings.api_port if port is None else port,
            authority=home.authority / "ca.crt",
            certificate=home.authority / "server.pem",
            key=home.authority / "server.key",
        )
        ending.callback(server.stop)
        if epochs is not None:
            epochs.start()
            ending.callback(epochs.stop)
        yield Lookups(found)


def epoch_in_force(home: HubHome) -> int:
    """Return the number of the epoch in force, or 0 if there is none; any process may ask."""
    home.settings()  # what is no hub's directory must not become one halfway
    store = EpochStore(home.root / FOLDER)
    try:
        return store.current(unix_now()).epoch
    except UnknownEpochError:
        return 0


def evidence(directory: Path, epoch: int, asker: str) -> bytes:
    """Return what an auditor is given: the hub's book about one asker in one epoch.

    Raises:
        UnknownEpochError: there is no such epoch.
    """
    home = HubHome(directory)
    # Read first: what is no hub's directory must not become one halfway.
    home.settings()
    return read_evidence(home.root / FOLDER, HUB, asker, epoch, journal=keeping_of(home.root).book)
