"""Authorities of partners: a company's own, trusted for the certificates of one partner.

    trusted/<partner>.json   the certificates of its authority, and how it names the node

An operator adds one for exactly one partner. Whatever it signs can name this partner and nobody
else: not another partner, not the hub, not its proxy. The name is never taken from the
certificate; it is the one under which the authority is kept, and the certificate must agree, by
the node's SPIFFE URI or by a subject that the operator has pinned.

The file of an authority holds the certificate that signs nodes' certificates, and all above it up
to its root: a connection shows the node's certificate alone. A chain is verified by the profile
of `cryptography.x509.verification` (names, times, constraints, strength of keys), each time anew.

Specification: RFC 5280, section 6; RFC 4514 (subjects as text).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from compliance.configuration import ConfigError, check_fields, typed
from protocols.errors import InvalidProofError
from server.identity.peer import CONTROL_NAME, is_node_name, node_uri
from server.keeping.partners import parse_object
from server.keeping.place import keeping_of

FOLDER = "trusted"
MAX_CERTIFICATES = 16
_SUFFIX = ".json"
_FIELDS = {"partner", "subject", "certificates", "added_at"}


@dataclass(frozen=True, slots=True)
class Trust:
    """An authority that is trusted for one partner.

    Args:
        certificates: the one that signs nodes' certificates, and all above it up to its root.
        subject: of the node's certificate (RFC 4514); empty where its SPIFFE URI names it.
    """

    partner: str
    certificates: tuple[x509.Certificate, ...]
    subject: str = ""

    def described(self) -> list[dict[str, str]]:
        """Return what an operator compares: subject, fingerprint and end of each certificate."""
        return [
            {
                "subject": item.subject.rfc4514_string(),
                "sha256": item.fingerprint(SHA256()).hex(),
                "until": f"{item.not_valid_after_utc:%Y-%m-%d}",
            }
            for item in self.certificates
        ]

    def names(self, leaf: x509.Certificate, hub: str) -> bool:
        """Report whether a certificate that this authority signed says that it is the partner's."""
        uris = _uris(leaf)
        if any(uri.startswith("spiffe:") and uri != node_uri(hub, self.partner) for uri in uris):
            return False  # whatever its subject says
        if self.subject:
            return leaf.subject.rfc4514_string() == self.subject
        return uris == [node_uri(hub, self.partner)]


class TrustedAuthorities:
    """Which authorities a hub trusts beside its own; any number of threads, and of processes.

    Args:
        root: the hub's directory.
    """

    def __init__(self, root: Path, hub: str) -> None:
        self._root = root
        self._hub = hub
        self._known: tuple[object, tuple[Trust, ...]] = (object(), ())

    def mark(self) -> object:
        """Return what is another once an authority was added, replaced or removed."""
        return keeping_of(self._root).shelf(FOLDER).state()[0]

    def all(self) -> tuple[Trust, ...]:
        """Return all of them, parsed again when one is another than before.

        Raises:
            ConfigError: one is damaged; nobody comes in by any of them then.
            StateUnavailableError: they cannot be looked up.
        """
        mark, kept = keeping_of(self._root).shelf(FOLDER).state()
        known = self._known
        if known[0] != mark:
            known = self._known = mark, tuple(_parse(*item) for item in sorted(kept.items()))
        return known[1]

    def bundle(self) -> str:
        """Return all certificates (PEM), for a server that asks for certificates."""
        return "".join(
            item.public_bytes(Encoding.PEM).decode()
            for trust in self.all()
            for item in trust.certificates
        )

    def peer_name(self, leaf: x509.Certificate, now: int) -> str:
        """Return the partner whose certificate this is.

        Raises:
            InvalidProofError: no authority here signed it, it has run out, is not for clients, or
                names somebody for whom its authority is not trusted.
        """
        for trust in self.all():
            if _is_signed(leaf, trust.certificates):
                verify_chain(leaf, trust.certificates, now)
                if not trust.names(leaf, self._hub):
                    raise InvalidProofError(
                        "peer certificate: names somebody for whom its authority is not trusted"
                    )
                return trust.partner
        raise InvalidProofError("peer certificate: signed by no authority that is trusted here")

    def keep(self, trust: Trust, now: int) -> None:
        """Trust an authority for a partner, in place of one that was before; durable."""
        value = {
            "partner": trust.partner,
            "subject": trust.subject,
            "certificates": [pem_text(item) for item in trust.certificates],
            "added_at": now,
        }
        data = json.dumps(value, indent=1).encode()
        keeping_of(self._root).shelf(FOLDER).put(f"{trust.partner}{_SUFFIX}", data)

    def remove(self, partner: str) -> None:
        """Trust the authority of a partner no more.

        Raises:
            ConfigError: there is none.
        """
        if partner not in {trust.partner for trust in self.all()}:
            raise ConfigError(
                f"{partner[:32]}: has no authority of its own here; nothing to remove"
            )
        keeping_of(self._root).shelf(FOLDER).delete(f"{partner}{_SUFFIX}")

    def check(self, trust: Trust, own: x509.Certificate, now: int) -> None:
        """Refuse an authority that could stand for more than its partner.

        Args:
            own: the certificate of the hub's authority.

        Raises:
            ConfigError: names what is wrong with it.
        """
        if not is_node_name(trust.partner) or trust.partner == CONTROL_NAME:
            raise ConfigError(f"{trust.partner[:32]}: is no name of a partner; correct it")
        _check_subject(trust.subject)
        taken = {
            item.fingerprint(SHA256())
            for other in self.all()
            if other.partner != trust.partner
            for item in other.certificates
        }
        for item in trust.certificates:
            if item.subject == own.subject or item.public_key() == own.public_key():
                raise ConfigError("authority: has the name or the key of the hub's own; refuse it")
            # A certificate that two may sign for would be whose of the two comes first.
            if item.fingerprint(SHA256()) in taken:
                raise ConfigError("authority: is trusted for another partner already; remove it")
        _check_whole(trust.certificates, now)


def parse_trust(partner: str, data: bytes, subject: str = "") -> Trust:
    """Read the certificates of a partner's authority (PEM).

    Raises:
        ConfigError: no certificates, or more than anybody's chain has.
    """
    try:
        found = x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise ConfigError("authority: not certificates in PEM form; ask for another") from error
    if not 1 <= len(found) <= MAX_CERTIFICATES:
        raise ConfigError(f"authority: needs 1 to {MAX_CERTIFICATES} certificates; split the file")
    return Trust(partner, tuple(found), subject)


def verify_chain(leaf: x509.Certificate, authority: Sequence[x509.Certificate], now: int) -> None:
    """Verify a client's certificate up to a root among the certificates of its authority.

    Raises:
        InvalidProofError: it does not hold at `now`.
    """
    roots = [item for item in authority if item.subject == item.issuer]
    try:
        verifier = (
            PolicyBuilder()
            .store(Store(roots))
            .time(datetime.fromtimestamp(now, UTC))
            # Companies name people and machines in many ways; who it is, we decide ourselves.
            .extension_policies(
                ca_policy=ExtensionPolicy.webpki_defaults_ca(),
                ee_policy=ExtensionPolicy.permit_all(),
            )
            .build_client_verifier()
        )
        verifier.verify(leaf, [item for item in authority if item not in roots])
    except (VerificationError, ValueError, UnsupportedAlgorithm) as error:
        raise InvalidProofError("peer certificate: its chain does not hold") from error
    if not _is_for_clients(leaf):
        raise InvalidProofError("peer certificate: not made for clients")


def pem_text(certificate: x509.Certificate) -> str:
    """Return a certificate as text."""
    return certificate.public_bytes(Encoding.PEM).decode()


def _is_signed(leaf: x509.Certificate, authority: Sequence[x509.Certificate]) -> bool:
    for item in authority:
        try:
            leaf.verify_directly_issued_by(item)
        except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
            continue
        return True
    return False


def _is_for_clients(leaf: x509.Certificate) -> bool:
    """Report whether a certificate may be a client's, and no authority's."""
    try:
        extensions = leaf.extensions
    except (ValueError, x509.DuplicateExtension):
        return False
    for extension in extensions:
        match extension.value:
            case x509.ExtendedKeyUsage() as uses if ExtendedKeyUsageOID.CLIENT_AUTH not in uses:
                return False
            case x509.KeyUsage() as usage if not usage.digital_signature:
                return False
            case x509.BasicConstraints(ca=True):
                return False
            case _:
                continue
    return True


def _uris(leaf: x509.Certificate) -> list[str]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    except (ValueError, x509.DuplicateExtension) as error:
        raise InvalidProofError("peer certificate: not readable") from error
    return [str(uri) for uri in names.get_values_for_type(x509.UniformResourceIdentifier)]


def _check_subject(subject: str) -> None:
    if not subject:
        return
    try:
        same = x509.Name.from_rfc4514_string(subject).rfc4514_string() == subject
    except ValueError:
        same = False
    if not same:
        raise ConfigError("subject: write it as RFC 4514 does, for example CN=node 1,O=Bank,C=TW")


def _check_whole(certificates: Sequence[x509.Certificate], now: int) -> None:
    """Refuse what is no chain of authorities up to a root, or has run out."""
    moment = datetime.fromtimestamp(now, UTC)
    for item in certificates:
        if not item.not_valid_before_utc <= moment < item.not_valid_after_utc:
            raise ConfigError("authority: one of its certificates is not valid now; ask for others")
        try:
            is_authority = item.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
            is_authority = False
        if not is_authority:
            raise ConfigError("authority: one of its certificates is no authority's; remove it")
        if not _is_signed(item, certificates):
            raise ConfigError("authority: add all certificates above it, up to its root")


def _parse(name: str, kept: bytes) -> Trust:
    where = f"{FOLDER}/{name}"
    value = parse_object(kept, where)
    check_fields(value, _FIELDS, where)
    listed: list[Any] = typed(value, "certificates", list, where)
    partner = typed(value, "partner", str, where)
    if name != f"{partner}{_SUFFIX}":
        raise ConfigError(f"{where}: of another partner; restore it from a backup")
    data = "".join(str(item) for item in listed).encode()
    return parse_trust(partner, data, typed(value, "subject", str, where))
