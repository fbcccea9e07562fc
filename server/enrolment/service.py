"""Taking join requests and renewals that come over the network; no HTTP in here.

    join      by a code: checked, kept, entered; two people decide later (`lianfang-hub approve`)
    asking    by the key that asked to join: waiting, rejected with the reason, or the welcome
    renewal   by a partner's certificate in use and its identity key: issued at once, and entered

Every code that does not count is refused alike: unknown, used, run out, for another name, or
of another hub. Nothing of who takes part here can be learnt without a code that counts.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, ClassVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from compliance.clock import Clock
from compliance.configuration import ConfigError
from compliance.errors import ComplianceError, NotPermittedError
from compliance.office.about import About
from compliance.office.office import Office
from protocols.codec import parse_json
from protocols.enrolment.code import SECRET_SIZE
from protocols.enrolment.words import (
    parse_signature,
    verify_asking,
    verify_join,
    verify_renewal,
)
from protocols.errors import MalformedMessageError, ProtocolError
from protocols.jcs import encode_jcs
from protocols.tlog.entry import Verb
from server.enrolment.invitations import REJECTED, Invitations
from server.enrolment.rates import Rate, Rates
from server.home import HubHome, check_request
from server.identity.admission import Admission
from server.identity.authority import requested_key

MAX_REQUEST = 256 << 10
WAITING, APPROVED = "waiting", "approved"
# A code that was mistyped fails at the partner already: few requests are honest.
STRANGERS = Rate(burst=10, per_minute=6), Rate(burst=60, per_minute=60)
# Nodes ask every few seconds while they wait.
ASKING = Rate(burst=60, per_minute=60), Rate(burst=600, per_minute=600)
RENEWALS = Rate(burst=5, per_minute=0.1), Rate(burst=100, per_minute=10)


class EnrolmentRefusedError(ComplianceError):
    """A code does not count, for whatever reason; there is one answer for all."""

    code: ClassVar[str] = "enrolment_refused"


class TooManyRequestsError(ComplianceError):
    """A caller, or all together, ask more often than they may."""

    code: ClassVar[str] = "too_many_requests"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a request to join stands."""

    state: str
    welcome: dict[str, Any] | None = None
    reason: str | None = None


class Enrolment:
    """What the API does about joining, renewing and who is let in no more.

    Args:
        office: decides and enters.
    """

    def __init__(self, home: HubHome, office: Office, *, clock: Clock) -> None:
        self.hub = home.settings().name
        self._home = home
        self._office = office
        self._clock = clock
        self._invitations = Invitations(home.root)
        self.admission = Admission(home.root, self.hub, clock=clock)
        self._lock = threading.Lock()
        self._strangers = Rates(*STRANGERS)
        self._asking = Rates(*ASKING)
        self._renewals = Rates(*RENEWALS)

    def bars(self, name: str, serial: int) -> bool:
        """Report whether a certificate counts no more; see `Revocations.bars`."""
        return self.admission.bars(name, serial)

    def has_ended(self, name: str, serial: int) -> bool:
        """Report whether a certificate was renewed, and its time is over; see `Admission`."""
        return self.admission.has_ended(name, serial)

    def authority(self) -> str:
        """Return the certificate of the authority (PEM), which codes name by its hash."""
        return (self._home.authority / "ca.crt").read_text()

    def admit_stranger(self, address: str) -> None:
        """Count one request to join, before anything of it is read.

        Raises:
            TooManyRequestsError: this address, or all together, asked too often.
        """
        _count(self._strangers, address)

    def join(self, data: bytes) -> str:
        """Take a join request and return its number; safe to repeat by whoever sent it.

        Raises:
            MalformedMessageError: it is no join request, whatever its code.
            InvalidProofError: it is not signed by the identity key in it.
            EnrolmentRefusedError: its code does not count.
        """
        secret, request, signature = _parse_join(data)
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(request["identity"]))
        verify_join(public, self.hub, secret, request, signature)
        found = self._invitations.find(secret)
        if found is None or found.name != request["name"]:
            raise EnrolmentRefusedError("the code does not count")
        with self._lock:
            before = self._invitations.request(found.number)
            if before is None:
                if self._clock.now() >= found.ends_at:
                    raise EnrolmentRefusedError("the code does not count")
                self._enter("partners", request["name"], "join", _digest(request))
                if not self._invitations.take(found.number, request):
                    before = self._invitations.request(found.number)
        if before is not None and before != request:
            raise EnrolmentRefusedError("the code does not count")
        return found.number

    def standing(self, number: str, proof: str, address: str) -> Standing | None:
        """Return how a request stands; None to whoever does not hold its identity key.

        Raises:
            TooManyRequestsError: this address, or all together, asked too often.
        """
        _count(self._asking, address)
        request = self._invitations.request(number)
        if request is None:
            return None
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(request["identity"]))
        try:
            verify_asking(public, self.hub, number, proof, self._clock.now())
        except ProtocolError:
            return None
        welcome = self._invitations.welcome(number)
        if welcome is None:
            return Standing(WAITING)
        if REJECTED in welcome:
            return Standing(REJECTED, reason=str(welcome[REJECTED]))
        return Standing(APPROVED, welcome)

    def renew(self, name: str, serial: int, data: bytes) -> dict[str, Any]:
        """Issue a new certificate to a partner and return it, once it is entered.

        Args:
            name, serial: of the certificate that the caller has shown.

        Raises:
            MalformedMessageError, UnsupportedParameterError: not a request for a certificate.
            InvalidProofError: not signed by the partner's identity key, for this certificate.
            TooManyRequestsError: it was renewed too often.
        """
        tls_request, signature = _parse_renewal(data)
        kept = self._home.partner(name)
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(kept["identity"]))
        verify_renewal(
            public,
            self.hub,
            name,
            serial=serial,
            request=tls_request.encode(),
            signature=signature,
        )
        requested_key(tls_request.encode())
        _count(self._renewals, name)
        digest = sha256(tls_request.encode()).digest()
        self._enter("partners/certificate", name, "certificate", digest)
        return self._home.renew_node(name, tls_request, self._clock.now())

    def _enter(self, matter: str, name: str, kind: str, digest: bytes) -> None:
        """Decide about an organisation's own step towards the hub, and enter it."""
        about = About(
            Verb.ALTER,
            matter,
            recipients=(name,),
            count=1,
            document=digest,
            subject=f"{kind} {digest.hex()}",
            once=True,
        )
        try:
            self._office.perform("join", about, by=self._office.party(name))
        except ValueError as error:
            raise NotPermittedError("join: no entry can hold this name") from error


def _count(rates: Rates, caller: str) -> None:
    if not rates.allows(caller):
        raise TooManyRequestsError("asked too often; wait a minute")


def _digest(request: dict[str, Any]) -> bytes:
    return sha256(encode_jcs(request)).digest()


def _parse_join(data: bytes) -> tuple[bytes, dict[str, Any], bytes]:
    value = _object(data, {"secret", "request", "signature"}, "join request")
    request = value["request"]
    if not isinstance(request, dict):
        raise MalformedMessageError("join request: request must be an object")
    try:
        check_request(request)
        secret = bytes.fromhex(value["secret"])
    except ConfigError as error:
        raise MalformedMessageError(str(error)) from error
    except (TypeError, ValueError) as error:
        raise MalformedMessageError("join request: secret is not hexadecimal") from error
    if len(secret) != SECRET_SIZE:
        raise MalformedMessageError(f"join request: secret needs {SECRET_SIZE} bytes")
    return secret, request, parse_signature(value["signature"], "join request")


def _parse_renewal(data: bytes) -> tuple[str, bytes]:
    value = _object(data, {"tls_request", "signature"}, "renewal")
    if not isinstance(value["tls_request"], str):
        raise MalformedMessageError("renewal: tls_request must be text")
    return value["tls_request"], parse_signature(value["signature"], "renewal")


def _object(data: bytes, names: set[str], subject: str) -> dict[str, Any]:
    value = parse_json(data, subject)
    if not isinstance(value, dict) or set(value) != names:
        raise MalformedMessageError(f"{subject}: needs exactly {', '.join(sorted(names))}")
    return value
