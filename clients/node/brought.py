"""A certificate of the company's own, in place of one that the hub issues.

The hub must trust the authority that signed it, for this partner alone (`lianfang-hub authority
add`). Key, certificate and chain are copied into the node's keys, and replaced there when the
company issues new ones: nothing renews them here, and their end is told in time.

A new pair is shown to the hub before it is put in the place of the one in use, which is
untouched until then.
"""

from __future__ import annotations

import time
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from clients.keys import (
    AUTHORITY,
    CERTIFICATE,
    NEXT_CERTIFICATE,
    NEXT_KEY,
    credentials,
)
from clients.lookup.https import TIMEOUT_S, Https
from clients.node.home import Home
from clients.transport import Credentials
from compliance.atrest.secrets import move_secret, write_secret
from compliance.configuration import ConfigError
from compliance.files import write_atomically

DRAFT_KEY, DRAFT_CERTIFICATE = "tls-brought.key", "tls-brought.pem"
# Answers whoever is a partner, and nobody else.
_PROBE = "/openapi.json"
_CURVES = (ec.SECP256R1, ec.SECP384R1)


def is_brought(directory: Path) -> bool:
    """Report whether the certificate in use is none that the hub of this node has issued.

    Args:
        directory: of the node's keys.
    """
    try:
        leaf = x509.load_pem_x509_certificate((directory / CERTIFICATE).read_bytes())
    except FileNotFoundError:
        return False
    except ValueError as error:
        raise ConfigError(f"{CERTIFICATE}: cannot be read; bring the certificate again") from error
    try:
        authority = (directory / AUTHORITY).read_bytes()
        leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
    except (FileNotFoundError, InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return True
    return False


def brought_certificate(directory: Path) -> str:
    """Return the certificate that was brought along (PEM, without its chain); empty if none was."""
    if not is_brought(directory):
        return ""
    leaf = x509.load_pem_x509_certificate((directory / CERTIFICATE).read_bytes())
    return leaf.public_bytes(Encoding.PEM).decode()


def bring(directory: Path, certificate: Path, key: Path, chain: Path | None) -> x509.Certificate:
    """Put a certificate, its key and its chain into the keys of a node that joins with it.

    Raises:
        ConfigError: they do not belong together, or cannot be used here; nothing is changed.
    """
    keys = Home(directory).keys
    leaf, whole, private = _read(certificate, key, chain)
    write_secret(keys / NEXT_KEY, private)
    write_atomically(keys / NEXT_CERTIFICATE, whole)
    credentials(keys)  # puts both in their place
    return leaf


def replace(directory: Path, certificate: Path, key: Path, chain: Path | None) -> x509.Certificate:
    """Put a new pair in the place of the one in use, once the hub has answered to it.

    Raises:
        ConfigError: as `bring`. HubRefusedError, TransportError: the hub does not let it in; the
            pair in use stays.
    """
    home = Home(directory)
    address, keys = home.config().api, home.keys
    if not address:
        raise ConfigError("node.json: no hub yet; run `lianfang node join` first")
    leaf, whole, private = _read(certificate, key, chain)
    draft = Credentials(keys / AUTHORITY, keys / DRAFT_CERTIFICATE, keys / DRAFT_KEY)
    try:
        write_secret(draft.key, private)
        write_atomically(draft.certificate, whole)
        https = Https(address, draft, TIMEOUT_S, ())
        try:
            https.fetch(_PROBE)
        finally:
            https.close()
        move_secret(draft.key, keys / NEXT_KEY)
        draft.certificate.replace(keys / NEXT_CERTIFICATE)
    finally:
        for path in (draft.key, draft.certificate):
            path.unlink(missing_ok=True)
    credentials(keys)  # puts both in their place
    return leaf


def _read(
    certificate: Path, key: Path, chain: Path | None
) -> tuple[x509.Certificate, bytes, bytes]:
    """Return the certificate, all of it with its chain (PEM), and the key (PKCS #8)."""
    listed = _certificates(certificate, "certificate")
    leaf, above = listed[0], listed[1:] + (_certificates(chain, "chain") if chain else [])
    private = _private(key)
    if private.public_key() != leaf.public_key():
        raise ConfigError("certificate: is for another key; give the key that belongs to it")
    now = time.time()
    begins, ends = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    if not begins <= now < ends:
        raise ConfigError("certificate: is not valid now; bring one that is")
    _check_use(leaf)
    previous = leaf
    for item in above:
        try:
            previous.verify_directly_issued_by(item)
        except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ConfigError(
                "chain: each certificate must be signed by the next one; put them in order"
            ) from error
        previous = item
    # The root is known to whoever trusts it, and is not sent.
    sent = [leaf, *(item for item in above if item.subject != item.issuer)]
    whole = b"".join(item.public_bytes(Encoding.PEM) for item in sent)
    return leaf, whole, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _certificates(path: Path, what: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{what}: {path.name} holds no certificate in PEM form") from error


def _private(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"key: {path.name} holds no private key in PEM form without a password"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, _CURVES):
        raise ConfigError("key: must be on P-256 or P-384; have one of these certified")
    return key


def _check_use(leaf: x509.Certificate) -> None:
    try:
        uses = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if ExtendedKeyUsageOID.CLIENT_AUTH not in uses:
        raise ConfigError("certificate: is not made for clients; have one for TLS clients issued")
