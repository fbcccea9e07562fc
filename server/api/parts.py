"""What the routes work with, and how they get it and their caller from a request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from fastapi import Depends, Path, Request

from compliance.clock import Clock
from compliance.errors import NotPermittedError, UnknownPartnerError
from compliance.evaluations.store import EpochStore
from server.agreements.service import Agreements
from server.api.errors import CertificateRequiredError
from server.api.tls import EXTENSION
from server.api.workers import Workers
from server.enrolment.service import Enrolment
from server.log.opening import HubLog
from server.lookup.asking import Holders
from server.lookup.service import Evaluations
from server.tables.store import Tables
from server.tokens.tokens import Tokens

_EXACT = 2**53 - 1  # the largest whole number that every reader of JSON has exactly


@dataclass(frozen=True, slots=True)
class Parts:
    """The services behind the API.

    Args:
        hub: the hub's name, as in manifests and certificates.
        identities: the identity key of a partner, or None for whoever is no partner (any
            more); asked for every request.
        identity: the hub's key, under which the list of tables is signed.
        agreements: by which everything here is decided, and which partners sign here.
        log: the hub's audit log, to which everything is entered, and which partners read.
        enrolment: who comes in and whose certificates count no more; None takes nobody in.
        holders: the key holders elsewhere; here only to tell whether enough are connected.
        tokens: gives and takes access tokens; None gives and takes none.
        contact: whom to tell of a weakness, a URI; empty if nobody is named.
    """

    hub: str
    evaluations: Evaluations
    epochs: EpochStore
    tables: Tables
    agreements: Agreements
    log: HubLog
    holders: Holders
    identities: Callable[[str], Ed25519PublicKey | None]
    identity: Ed25519PrivateKey = field(repr=False)
    clock: Clock
    enrolment: Enrolment | None = None
    tokens: Tokens | None = None
    contact: str = ""
    workers: Workers = field(default_factory=Workers)
    # Whose delta is being read or applied: one at a time for each contributor.
    publishing: set[str] = field(default_factory=set)

    def close(self) -> None:
        """End the threads of the services; after the server has stopped."""
        self.workers.close()
        self.evaluations.close()


def parts_of(request: Request) -> Parts:
    """Return the services of the application that serves a request."""
    parts: Parts = request.app.state.parts
    return parts


def caller_of(request: Request) -> str:
    """Return the partner that TLS has verified.

    Raises:
        CertificateRequiredError: it showed no certificate.
        NotPermittedError: its certificate names no node of this hub.
        UnknownPartnerError: it is no partner, or none any more.
    """
    peer = request.scope.get("extensions", {}).get(EXTENSION, {})
    if not peer.get("certificate"):
        raise CertificateRequiredError("show the certificate that the hub issued to this node")
    name = peer.get("name")
    if not isinstance(name, str):
        raise NotPermittedError("caller: its certificate names no node of this hub")
    if parts_of(request).identities(name) is None:
        raise UnknownPartnerError(f"{name}: no such partner")
    return name


Services = Annotated[Parts, Depends(parts_of)]
Caller = Annotated[str, Depends(caller_of)]
Epoch = Annotated[int, Path(ge=1, le=_EXACT, description="Number of the epoch.")]
Version = Annotated[int, Path(ge=1, le=_EXACT, description="Version of the table.")]
Contributor = Annotated[
    str, Path(pattern=r"^[a-z][a-z0-9-]{0,62}$", description="Name of the contributor.")
]
