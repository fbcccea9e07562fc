"""The hub's part in lookups: its share of every key, the tables, and the HTTPS API.

All of it lives in the hub's process, beside the relay: evaluation leaves Python for the
whole of a batch, and the other holders are asked over the streams that end here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from compliance.errors import UnknownEpochError
from compliance.evaluations.evidence import read_evidence
from compliance.evaluations.store import EpochStore
from compliance.operation.observing import UNOBSERVED, Observes
from server.agreements.service import Agreements
from server.api.app import create_app
from server.api.forwarding import parse_proxies
from server.api.parts import Parts
from server.api.running import ApiServer
from server.enrolment.service import Enrolment
from server.epochs.holding import FOLDER, HUB, Holding, identities_of
from server.epochs.service import Epochs
from server.home import HubHome, unix_now
from server.log.opening import HubLog
from server.lookup.service import Evaluations
from server.operation.asking import observed_holders
from server.operation.requests import Roles, observed
from server.standing.registry import Standing
from server.tables.store import Tables
from server.tokens.signing import TokenKey
from server.tokens.tokens import Tokens

TABLES = "tables"


@dataclass(frozen=True, slots=True)
class Lookups:
    """What is being served, and where."""

    port: int


@contextmanager
def serve_lookups(
    home: HubHome,
    holding: Holding,
    epochs: Epochs,
    standing: Standing,
    log: HubLog,
    *,
    observer: Observes = UNOBSERVED,
) -> Iterator[Lookups]:
    """Serve the API and keep the epochs in order, until the end of the block."""
    settings = home.settings()
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
        tables=Tables(home.root / TABLES, hub=settings.name, identities=identities),
        agreements=Agreements(log.office.agreements, hub=settings.name, clock=holding.clock),
        log=log,
        holders=standing,
        identities=identities,
        identity=home.identity_key(),
        clock=holding.clock,
        enrolment=enrolment,
        tokens=Tokens(
            TokenKey(home.authority),
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
        port = server.start(
            settings.host,
            settings.api_port,
            authority=home.authority / "ca.crt",
            certificate=home.authority / "server.pem",
            key=home.authority / "server.key",
        )
        ending.callback(server.stop)
        epochs.start()
        ending.callback(epochs.stop)
        yield Lookups(port)


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
    return read_evidence(home.root / FOLDER, HUB, asker, epoch)
