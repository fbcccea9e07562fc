"""The keys of a node, made where they are used: no private key ever leaves this directory.

    tls.key        ECDSA P-256, PKCS #8: the link to the hub, named by the hub's certificate
    identity.key   Ed25519, PKCS #8: signs announcements and agreements for years
    flower.key     ECDSA P-384, OpenSSH: node authentication of Flower's SuperNode
    flower.pub     its public half, for `flwr supernode register` at the hub
    tls.pem, ca.crt  certificate of the node and of the hub's authority, once it has joined
    tls-next.key, tls-next.pem  while a certificate is being renewed

All are mode 0600 and replaced as a whole; a key is never replaced by `create_keys`. A renewal
puts a new TLS key and its certificate beside those in use, and then in their place: whoever
finds both there finishes that, so a crash in between costs nothing.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
)
from cryptography.x509.oid import NameOID

from clients.transport import Credentials
from compliance.atrest.secrets import move_secret, read_secret, write_secret
from compliance.files import write_atomically

TLS_KEY = "tls.key"
IDENTITY_KEY = "identity.key"
FLOWER_KEY = "flower.key"
FLOWER_PUBLIC = "flower.pub"
CERTIFICATE = "tls.pem"
AUTHORITY = "ca.crt"
NEXT_KEY, NEXT_CERTIFICATE = "tls-next.key", "tls-next.pem"
_OTHERS = 0o077


class KeyStoreError(Exception):
    """A key file is missing, damaged, readable by others, or belongs to another key."""

    code: ClassVar[str] = "key_store"


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """The three private keys of a node."""

    tls: ec.EllipticCurvePrivateKey = field(repr=False)
    identity: Ed25519PrivateKey = field(repr=False)
    flower: ec.EllipticCurvePrivateKey = field(repr=False)


def create_keys(directory: Path) -> NodeKeys:
    """Make the keys that are missing, keep those that exist, and return all.

    Raises:
        KeyStoreError: an existing key cannot be used.
    """
    pem, pkcs8 = Encoding.PEM, PrivateFormat.PKCS8
    if not (directory / TLS_KEY).exists():
        tls = ec.generate_private_key(ec.SECP256R1())
        write_secret(directory / TLS_KEY, tls.private_bytes(pem, pkcs8, NoEncryption()))
    if not (directory / IDENTITY_KEY).exists():
        identity = Ed25519PrivateKey.generate()
        write_secret(directory / IDENTITY_KEY, identity.private_bytes(pem, pkcs8, NoEncryption()))
    if not (directory / FLOWER_KEY).exists():
        flower = ec.generate_private_key(ec.SECP384R1())
        write_secret(
            directory / FLOWER_KEY,
            flower.private_bytes(pem, PrivateFormat.OpenSSH, NoEncryption()),
        )
    keys = load_keys(directory)
    public = keys.flower.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    write_atomically(directory / FLOWER_PUBLIC, public + b"\n")
    return keys


def load_keys(directory: Path) -> NodeKeys:
    """Read the keys of a node.

    Raises:
        KeyStoreError: names the file and the cure.
    """
    _finish_renewal(directory)
    tls = _load(directory / TLS_KEY)
    identity = _load(directory / IDENTITY_KEY)
    flower = _load(directory / FLOWER_KEY, ssh=True)
    if not isinstance(tls, ec.EllipticCurvePrivateKey):
        raise KeyStoreError(f"{directory / TLS_KEY}: not an elliptic-curve key")
    if not isinstance(identity, Ed25519PrivateKey):
        raise KeyStoreError(f"{directory / IDENTITY_KEY}: not an Ed25519 key")
    if not isinstance(flower, ec.EllipticCurvePrivateKey):
        raise KeyStoreError(f"{directory / FLOWER_KEY}: not an elliptic-curve key")
    return NodeKeys(tls, identity, flower)


def certificate_request(keys: NodeKeys, name: str) -> bytes:
    """Write a request (PKCS #10, PEM) that shows the hub that this node holds its TLS key."""
    return _request(keys.tls, name)


def next_request(directory: Path, name: str) -> bytes:
    """Write a request for the TLS key that comes next; it is made, unless it was before.

    Raises:
        KeyStoreError: a key that was made before cannot be used.
    """
    _finish_renewal(directory)
    path = directory / NEXT_KEY
    if not path.exists():
        made = ec.generate_private_key(ec.SECP256R1())
        write_secret(path, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return _request(_next_key(directory), name)


def store_renewal(directory: Path, certificate: bytes) -> Credentials:
    """Put the next TLS key and its certificate in the place of those in use.

    Raises:
        KeyStoreError: damaged, for another key, or not signed by the authority that this node
            knows; nothing is changed then.
    """
    authority = (directory / AUTHORITY).read_bytes()
    leaf = _issued(certificate, authority)
    if leaf.public_key() != _next_key(directory).public_key():
        raise KeyStoreError("certificate from the hub: made for another key; request it again")
    write_atomically(directory / NEXT_CERTIFICATE, certificate)
    return credentials(directory)


def store_certificate(directory: Path, certificate: bytes, authority: bytes) -> Credentials:
    """Keep the certificates that the hub sent, if they are for this node's key.

    Raises:
        KeyStoreError: damaged, for another key, or not signed by the authority sent along.
    """
    keys = load_keys(directory)
    if _is_in_use(directory, certificate):
        # The company's own, which the hub has taken as it is; its chain stays beside it.
        write_atomically(directory / AUTHORITY, authority)
        return credentials(directory)
    leaf = _issued(certificate, authority)
    if leaf.public_key() != keys.tls.public_key():
        raise KeyStoreError("certificate from the hub: made for another key; request it again")
    write_atomically(directory / AUTHORITY, authority)
    write_atomically(directory / CERTIFICATE, certificate)
    return credentials(directory)


def hub_name(directory: Path) -> str:
    """Return the name of the hub that this node has joined, as its authority says it.

    Raises:
        KeyStoreError: it has joined none.
    """
    try:
        authority = x509.load_pem_x509_certificate((directory / AUTHORITY).read_bytes())
        names = authority.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (OSError, ValueError, x509.ExtensionNotFound) as error:
        raise KeyStoreError(f"{AUTHORITY}: cannot be read; join a hub first") from error
    return uri.removeprefix("spiffe://").partition("/")[0]


def credentials(directory: Path) -> Credentials:
    """Name the files with which a link is opened."""
    _finish_renewal(directory)
    return Credentials(directory / AUTHORITY, directory / CERTIFICATE, directory / TLS_KEY)


def _request(key: ec.EllipticCurvePrivateKey, name: str) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return request.sign(key, SHA256()).public_bytes(Encoding.PEM)


def _is_in_use(directory: Path, certificate: bytes) -> bool:
    """Report whether the very certificate is the one that lies here already."""
    try:
        found = x509.load_pem_x509_certificate((directory / CERTIFICATE).read_bytes())
        return found == x509.load_pem_x509_certificate(certificate)
    except (OSError, ValueError):
        return False


def _issued(certificate: bytes, authority: bytes) -> x509.Certificate:
    """Return a certificate (PEM) that the authority sent along has signed."""
    try:
        leaf = x509.load_pem_x509_certificate(certificate)
        issuer = x509.load_pem_x509_certificate(authority)
        leaf.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyStoreError("certificates from the hub: not readable") from error
    except InvalidSignature as error:
        raise KeyStoreError("certificate from the hub: not signed by its authority") from error
    return leaf


def _next_key(directory: Path) -> ec.EllipticCurvePrivateKey:
    key = _load(directory / NEXT_KEY)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KeyStoreError(f"{directory / NEXT_KEY}: not an elliptic-curve key; remove it")
    return key


def _finish_renewal(directory: Path) -> None:
    """Put a renewed pair in its place, key first; another process may be doing the same."""
    if not (directory / NEXT_CERTIFICATE).exists():
        return
    for new, old in ((NEXT_KEY, TLS_KEY), (NEXT_CERTIFICATE, CERTIFICATE)):
        with suppress(FileNotFoundError):
            move_secret(directory / new, directory / old)


def _load(path: Path, *, ssh: bool = False) -> PrivateKeyTypes:
    try:
        if path.stat().st_mode & _OTHERS:
            raise KeyStoreError(f"{path}: readable by others; run chmod 600 and replace the key")
        data = read_secret(path)
    except OSError as error:
        raise KeyStoreError(f"{path}: cannot be read; create the keys of the node") from error
    try:
        if ssh:
            return load_ssh_private_key(data, password=None)
        return load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyStoreError(f"{path}: not a private key; restore it from a backup") from error
