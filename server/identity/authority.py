"""The hub's certificate authority: names nodes, and the hub's own server.

All keys are ECDSA P-256, which gRPC and Flower's SuperLink both take. A node makes its
key itself and shows by a signed request that it holds it; of the request only the public
key is used, the name is the hub's decision. A node certificate has no host name and is for
clients only, so a node cannot pose as the hub although the same authority signed both.

Files in the directory of the authority, all mode 0600 and replaced as a whole:
`ca.crt`, `ca.key`; `server.pem`, `server.key` (also for Flower's SuperLink); `hub.pem`, `hub.key`.
Others put there: `token.key` (`server.tokens.signing`), `public.pem` and `public.key` (brought
along for public names, `server.identity.public`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from compliance.atrest.secrets import read_secret, write_secret
from compliance.files import write_atomically
from protocols.errors import InvalidProofError, MalformedMessageError, UnsupportedParameterError
from server.identity.peer import CONTROL_NAME, check_hub_name, node_uri, proxy_uri

DAY_S = 86_400
AUTHORITY_DAYS = 3650
LEAF_DAYS = 397
# Clocks of partners differ; a certificate is valid a little before it was made.
CLOCK_SKEW_S = 300
CURVES = (ec.SECP256R1, ec.SECP384R1)


@dataclass(frozen=True, slots=True)
class Authority:
    """The key that names everyone; `hub` is the trust domain of its names."""

    hub: str
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)


def create_authority(directory: Path, hub: str, now: int) -> Authority:
    """Make and store a new authority; an existing one is never replaced.

    Raises:
        FileExistsError: the directory holds an authority already.
    """
    check_hub_name(hub)
    if (directory / "ca.key").exists():
        raise FileExistsError(f"{directory} holds an authority already")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(f"Lianfang authority of {hub}")
    certificate = (
        _builder(subject, subject, key.public_key(), now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{hub}")]),
            critical=False,
        )
        .sign(key, SHA256())
    )
    # The key comes last and marks a finished authority: after a crash between the two
    # the directory counts as empty, and nothing has been signed yet.
    write_atomically(directory / "ca.crt", certificate.public_bytes(Encoding.PEM))
    write_secret(directory / "ca.key", _private_bytes(key))
    return Authority(hub, certificate, key)


def load_authority(directory: Path) -> Authority:
    """Read the authority of a directory.

    Raises:
        UnsupportedParameterError: the files are missing, damaged or do not belong together.
    """
    try:
        certificate = x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes())
        key = load_pem_private_key(read_secret(directory / "ca.key"), password=None)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
        hub = uri.removeprefix("spiffe://")
        check_hub_name(hub)
    except (OSError, ValueError, x509.ExtensionNotFound, UnsupportedAlgorithm) as error:
        raise UnsupportedParameterError(f"authority in {directory}: not readable") from error
    if (
        not isinstance(key, ec.EllipticCurvePrivateKey)
        or key.public_key() != certificate.public_key()
    ):
        raise UnsupportedParameterError(f"authority in {directory}: key and certificate differ")
    return Authority(hub, certificate, key)


def issue_node(
    authority: Authority, request: bytes, name: str, now: int, days: int = LEAF_DAYS
) -> bytes:
    """Return a client certificate (PEM) for the key in a signed request.

    `request` is PKCS #10 in PEM form; everything in it but the public key is ignored.
    `name` is what the hub has decided to call the node, after an operator's approval.

    Raises:
        MalformedMessageError: not a request.
        InvalidProofError: the request is not signed by the key in it.
        UnsupportedParameterError: the key is not on P-256 or P-384, or the name is taken
            by the hub itself.
    """
    if name == CONTROL_NAME:
        raise UnsupportedParameterError(f"node name {CONTROL_NAME}: reserved for the hub itself")
    return _issue_client(authority, requested_key(request), name, now, days)


def issue_server(
    authority: Authority, directory: Path, hosts: Sequence[str], now: int, days: int = LEAF_DAYS
) -> None:
    """Make and store a server key and certificate for host names and IP addresses."""
    if not hosts:
        raise ValueError("a server certificate needs at least one host name or address")
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _sign_leaf(
        authority,
        _builder(
            _subject(f"Lianfang hub {authority.hub}"),
            authority.certificate.subject,
            key.public_key(),
            now,
            days,
        ),
        [_host_name(host) for host in hosts],
        ExtendedKeyUsageOID.SERVER_AUTH,
    )
    write_secret(directory / "server.key", _private_bytes(key))
    write_atomically(directory / "server.pem", certificate)


def issue_control(authority: Authority, directory: Path, now: int, days: int = LEAF_DAYS) -> None:
    """Make and store the client key and certificate of the hub's own processes."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _issue_client(authority, key.public_key(), CONTROL_NAME, now, days)
    write_secret(directory / "hub.key", _private_bytes(key))
    write_atomically(directory / "hub.pem", certificate)


def issue_proxy(authority: Authority, now: int, days: int = LEAF_DAYS) -> tuple[bytes, bytes]:
    """Make a client key and certificate (PEM) for what stands in front of the hub's API.

    It names no node: what shows it is nobody, and may hand on the certificates of others where
    hub.json names its address as well.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(
        _subject(f"Lianfang proxy of {authority.hub}"),
        authority.certificate.subject,
        key.public_key(),
        now,
        days,
    )
    names = [x509.UniformResourceIdentifier(proxy_uri(authority.hub))]
    certificate = _sign_leaf(authority, builder, names, ExtendedKeyUsageOID.CLIENT_AUTH)
    return certificate, _private_bytes(key)


def _issue_client(
    authority: Authority, public: ec.EllipticCurvePublicKey, name: str, now: int, days: int
) -> bytes:
    # The common name holds spaces so that no software takes it for a host name.
    subject = _subject(f"Lianfang node {name}")
    builder = _builder(subject, authority.certificate.subject, public, now, days)
    names = [x509.UniformResourceIdentifier(node_uri(authority.hub, name))]
    return _sign_leaf(authority, builder, names, ExtendedKeyUsageOID.CLIENT_AUTH)


def _sign_leaf(
    authority: Authority,
    builder: x509.CertificateBuilder,
    names: Sequence[x509.GeneralName],
    use: x509.ObjectIdentifier,
) -> bytes:
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(issuer, critical=False)
        .sign(authority.key, SHA256())
    )
    return certificate.public_bytes(Encoding.PEM)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    now: int,
    days: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(now - CLOCK_SKEW_S, UTC))
        .not_valid_after(datetime.fromtimestamp(now + days * DAY_S, UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def requested_key(request: bytes) -> ec.EllipticCurvePublicKey:
    """Return the key that a signed request (PKCS #10, PEM) asks a certificate for.

    Raises:
        MalformedMessageError: not a request.
        InvalidProofError: it is not signed by the key in it.
        UnsupportedParameterError: the key is not on P-256 or P-384.
    """
    try:
        parsed = x509.load_pem_x509_csr(request)
        public = parsed.public_key()
        signed = parsed.is_signature_valid
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedMessageError("certificate request: not readable") from error
    if not signed:
        raise InvalidProofError("certificate request: not signed by the key in it")
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, CURVES):
        raise UnsupportedParameterError("certificate request: key must be on P-256 or P-384")
    return public


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _private_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
