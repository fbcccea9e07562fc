"""The hub's directory: its name and addresses, its authority, its partners, its runs.

hub.json              name, host, ports, and the database if that is not SQLite
identity.key          Ed25519: signs epoch manifests, table listings and receipts for years
authority/            ca.crt, ca.key, server.pem, server.key, hub.pem, hub.key, token.key
state.sqlite          partners, enrolment, agreements and more, unless hub.json names a database;
                      see server.keeping.place
holder/               epochs, and the hub's shares of their keys
runs/<run>/           plan.json, proposed.json, training.json, state.json, record.json
log/, log-second/     the audit log, its keys and its witnesses; see server.log.opening
flower/               the SuperLink's own
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from compliance.atrest.secrets import read_secret, write_secret
from compliance.configuration import ConfigError, read_object
from compliance.files import write_atomically
from compliance.operation.settings import OperationSettings
from protocols.errors import (
    InvalidProofError,
    MalformedMessageError,
    UnsupportedParameterError,
)
from protocols.link import check_party
from protocols.vertical.contract import Contract
from server.addresses import parse_proxies
from server.contact import check_contact
from server.database import check_database
from server.identity.authority import (
    create_authority,
    issue_control,
    issue_node,
    issue_server,
    load_authority,
    requested_key,
)
from server.identity.issued import Issued, Revocations, is_revoked
from server.identity.peer import check_hub_name
from server.identity.trusted import TrustedAuthorities
from server.keeping.place import keeping_of

if TYPE_CHECKING:
    from server.tokens.signing import TokenKey

_REQUEST_FIELDS = {"name", "tls_request", "identity", "flower_public", "contract"}
# The certificate of a partner that has an authority of its own, in a join request.
BROUGHT = "certificate"
_OPTIONAL = ("contact", "database", "metrics", "otel", "proxies", "public")
_PUBLIC = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[1-9][0-9]{0,4})?")
_IDENTITY = re.compile(r"[0-9a-f]{64}")
_MAX_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Settings:
    """The contents of hub.json."""

    name: str
    host: str
    link_port: int
    fleet_port: int
    api_port: int
    database: str = ""  # of log and state; empty: SQLite in the hub's directory
    metrics: str = ""  # empty: none are served
    contact: str = ""  # where weaknesses are reported, for security.txt
    otel: str = ""  # empty: no spans are sent
    proxies: str = ""  # addresses of proxies that hand certificates on; empty: none may
    public: str = ""  # HOST or HOST:PORT under which others reach the API; empty: as nodes do

    @property
    def issuer(self) -> str:
        """Return the address that access tokens name, and their metadata."""
        return f"https://{self.public or f'{self.host}:{self.api_port}'}"


@dataclass(frozen=True, slots=True)
class HubHome:
    """One hub's directory."""

    root: Path

    @property
    def authority(self) -> Path:
        """Return the directory of the authority and of the hub's own certificates."""
        return self.root / "authority"

    def settings(self) -> Settings:
        """Read hub.json.

        Raises:
            ConfigError: there is none, or it does not hold together.
        """
        value = read_object(self.root / "hub.json", cure="run `lianfang-hub init` first")
        kinds = {"name": str, "host": str, "link_port": int, "fleet_port": int, "api_port": int}
        found = {name: type(item) for name, item in value.items()}
        optional = dict.fromkeys(_OPTIONAL, str)
        if optional | found != kinds | optional:
            raise ConfigError(
                "hub.json: needs name and host as text, link_port, fleet_port and api_port as "
                f"whole numbers; {', '.join(_OPTIONAL)}, if they are there, as text; correct it"
            )
        settings = Settings(**value)
        check_database(settings.database)
        OperationSettings(settings.metrics, settings.otel)
        check_contact(settings.contact)
        parse_proxies(settings.proxies)
        if settings.public and not _PUBLIC.fullmatch(settings.public):
            raise ConfigError("hub.json: public must be HOST or HOST:PORT; correct it")
        return settings

    def create(
        self,
        *,
        name: str,
        host: str,
        link_port: int,
        fleet_port: int,
        api_port: int,
        now: int,
        database: str = "",
    ) -> Settings:
        """Make a new hub; an existing one is never replaced.

        Args:
            link_port, fleet_port, api_port: 0 takes a free one.
            database: of its log and state; see `server.database`. Nothing is connected to.

        Raises:
            ConfigError: the directory holds a hub already.
        """
        if (self.root / "hub.json").exists():
            raise ConfigError("hub.json: exists already; choose another directory")
        try:
            check_hub_name(name)
        except ValueError as error:
            raise ConfigError(f"name: {error}; choose another") from error
        check_database(database)
        settings = Settings(name, host, *_ports(host, link_port, fleet_port, api_port), database)
        self.authority.mkdir(mode=0o700, parents=True, exist_ok=True)
        authority = create_authority(self.authority, name, now)
        issue_server(authority, self.authority, _hosts(host), now)
        issue_control(authority, self.authority, now)
        self._token_key().made()
        private = Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        write_secret(self.root / "identity.key", private)
        write_atomically(self.root / "hub.json", json.dumps(asdict(settings), indent=1).encode())
        return settings

    def identity_key(self) -> Ed25519PrivateKey:
        """Read the key that signs in the hub's name.

        Raises:
            ConfigError: it is missing or damaged.
        """
        try:
            key = load_pem_private_key(read_secret(self.root / "identity.key"), password=None)
        except (OSError, ValueError, UnsupportedAlgorithm) as error:
            raise ConfigError(
                "identity.key: cannot be read; restore it from a backup of the hub"
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigError("identity.key: not an Ed25519 key; restore it from a backup")
        return key

    def approve(
        self,
        request: dict[str, Any],
        now: int,
        *,
        enter: Callable[[dict[str, Any]], object] = lambda _: None,
    ) -> dict[str, Any]:
        """Take a partner in and return its welcome: certificate, authority, addresses.

        Args:
            enter: makes a durable note of the request, once it was checked and before the
                certificate is issued.

        Raises:
            ConfigError: the request is not one, the name is taken by another key, the partner
                was revoked, or the certificate that it brings is of no authority of its own.
        """
        check_request(request)
        name = request["name"]
        self._check_new(request)
        brought = self._check_brought(request, now)
        enter(request)
        welcome = self._welcome(name, request["tls_request"], now, brought)
        kept = {key: request[key] for key in sorted(_REQUEST_FIELDS - {"tls_request"})}
        self._keep(name, kept)
        return welcome

    def renew_node(self, name: str, tls_request: str, now: int) -> dict[str, Any]:
        """Return a further certificate of a partner for another key, with all of its welcome.

        Raises:
            UnsupportedParameterError: nobody of this name has joined, or the key is of a kind
                that is not taken. MalformedMessageError, InvalidProofError: no request.
        """
        self.partner(name)
        return self._welcome(name, tls_request, now)

    def renew_server(self, now: int) -> None:
        """Replace the hub's own certificates and their keys; the authority stays.

        So is the key that signs access tokens, whose last ones are still taken until they end.
        """
        self._token_key().replace()
        settings, authority = self.settings(), load_authority(self.authority)
        issue_server(authority, self.authority, _hosts(settings.host), now)
        issue_control(authority, self.authority, now)

    def revoke(
        self, name: str, now: int, *, enter: Callable[[dict[str, Any]], object] = lambda _: None
    ) -> dict[str, Any]:
        """Revoke a partner for good: what serves notices at once; returns what it had handed in.

        The name and its keys stay known, and are never given again: agreements and entries name
        them. Safe to repeat after a crash.

        Args:
            enter: makes a durable note of it, before anything is changed.

        Raises:
            UnsupportedParameterError: nobody of this name has joined, or it is revoked already.
        """
        kept = self.partner(name)
        enter(kept)
        # The list first: while the file says nothing, the command may be repeated.
        serials = Issued(self.root).serials(name)
        Revocations(self.root).add(load_authority(self.authority), serials, now)
        self._keep(name, kept | {"revoked_at": now})
        return kept

    def partners(self) -> dict[str, dict[str, Any]]:
        """Return what every partner handed in, by name; who was revoked is none."""
        return {name: kept for name, kept in self.known().items() if not is_revoked(kept)}

    def known(self) -> dict[str, dict[str, Any]]:
        """Return what everybody handed in who ever joined, the revoked included, by name."""
        partners = keeping_of(self.root).partners
        found = {name: partners.find(name) for name in partners.names()}
        return {name: kept for name, kept in found.items() if kept is not None}

    def partner(self, name: str) -> dict[str, Any]:
        """Return one partner.

        Raises:
            UnsupportedParameterError: nobody of this name has joined, or it was revoked.
        """
        kept = keeping_of(self.root).partners.find(name)
        if kept is None:
            raise UnsupportedParameterError(
                f"{name[:32]}: no such partner; approve its join request first"
            )
        if is_revoked(kept):
            raise UnsupportedParameterError(f"{name}: was revoked and is no partner any more")
        return kept

    def _token_key(self) -> TokenKey:
        from server.tokens.signing import TokenKey  # noqa: PLC0415  loads joserfc

        return TokenKey(self.authority)

    def _check_new(self, request: dict[str, Any]) -> None:
        """Refuse a name or a key that is another partner's, or was a revoked one's."""
        name = request["name"]
        for other in self.known().values():
            same = other["name"] == name
            if same and is_revoked(other):
                raise ConfigError(
                    f"join request: {name} was revoked, and its name stays taken; make a new "
                    "node under another name"
                )
            keys = ("identity", "flower_public")
            shared = [other[key] == request[key] for key in keys]
            if any(shared) if not same else not all(shared):
                raise ConfigError(
                    f"join request: {name} or its key is taken by another partner; "
                    "choose another name, or make a new node"
                )

    def _check_brought(self, request: dict[str, Any], now: int) -> bytes:
        """Return the certificate that a partner brings along, or nothing if it brings none."""
        brought = str(request.get(BROUGHT, "")).encode()
        if not brought:
            return b""
        trusted = TrustedAuthorities(self.root, self.settings().name)
        try:
            found = trusted.peer_name(x509.load_pem_x509_certificate(brought), now)
        except InvalidProofError as error:
            raise ConfigError(
                f"join request: {error}; run `lianfang-hub authority add` with the partner's own"
            ) from error
        if found != request["name"]:
            raise ConfigError("join request: its certificate is of another partner; refuse it")
        return brought

    def _welcome(
        self, name: str, tls_request: str, now: int, brought: bytes = b""
    ) -> dict[str, Any]:
        settings, certificate = self.settings(), brought
        if not brought:
            authority = load_authority(self.authority)
            certificate = issue_node(authority, tls_request.encode(), name, now)
            Issued(self.root).add(name, certificate, now)
        return {
            "hub": settings.name,
            "link": f"{settings.host}:{settings.link_port}",
            "flower": f"{settings.host}:{settings.fleet_port}",
            "api": f"{settings.host}:{settings.api_port}",
            "identity": self.identity_key().public_key().public_bytes_raw().hex(),
            "certificate": certificate.decode(),
            "authority": (self.authority / "ca.crt").read_text(),
        }

    def _keep(self, name: str, kept: dict[str, Any]) -> None:
        keeping_of(self.root).partners.keep(name, kept)


def check_request(request: dict[str, Any]) -> None:
    """Refuse a join request before anything is signed; all in it comes from outside.

    Raises:
        ConfigError: names the field and the rule.
    """
    if set(request) - {BROUGHT} != _REQUEST_FIELDS:
        raise ConfigError(
            f"join request: needs exactly {', '.join(sorted(_REQUEST_FIELDS))}, and {BROUGHT} "
            "where one is brought along"
        )
    for name in sorted(set(request) - {"contract"}):
        if not isinstance(request[name], str):
            raise ConfigError(f"join request: {name} must be text; ask the partner for a new one")
    try:
        check_party(request["name"])
        Contract.parse(request["contract"])
        key = requested_key(request["tls_request"].encode())
    except (InvalidProofError, MalformedMessageError, UnsupportedParameterError) as error:
        raise ConfigError(f"join request: {error}") from error
    if not _IDENTITY.fullmatch(request["identity"]):
        raise ConfigError("join request: identity needs 64 hexadecimal digits, lower case")
    try:
        load_pem_public_key(request["flower_public"].encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError("join request: flower_public is not a public key (PEM)") from error
    if BROUGHT in request:
        _check_certificate(request[BROUGHT], key)


def _check_certificate(text: str, key: ec.EllipticCurvePublicKey) -> None:
    try:
        (found,) = x509.load_pem_x509_certificates(text.encode())
        same = found.public_key() == key
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError("join request: certificate is not one in PEM form") from error
    if not same:
        raise ConfigError("join request: certificate is for another key than the request")


def _hosts(host: str) -> list[str]:
    """Return what the server's certificate names; the SuperLink is called on loopback too."""
    return sorted({host, "127.0.0.1", "localhost"})


def _ports(host: str, *wanted: int) -> tuple[int, int, int]:
    """Return the ports of link, fleet and API; 0 is replaced by a free one."""
    if not all(0 <= port <= _MAX_PORT for port in wanted):
        raise ConfigError(f"ports: must be 0 to {_MAX_PORT}; correct them")
    with ExitStack() as probes:
        found = []
        for port in wanted:
            # Held together, so that the system does not give the same one twice.
            probe = probes.enter_context(socket.socket())
            if port == 0:
                probe.bind((host, 0))
            found.append(port or probe.getsockname()[1])
    if len(set(found)) != len(found):
        raise ConfigError("ports: link, fleet and API need different ones; correct them")
    link, fleet, api = found
    return link, fleet, api


def unix_now() -> int:
    """Return Unix seconds; the one place of the hub's commands that reads the clock."""
    return int(time.time())
