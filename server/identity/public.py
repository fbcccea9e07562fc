"""A server certificate brought along, for the names by which the public reaches the API.

Nodes know the hub by its own authority and dial the host of hub.json; they are never shown this
one, whose authority they have no reason to trust. So its names and that host must differ.
"""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from compliance.atrest.secrets import write_secret
from compliance.configuration import ConfigError
from compliance.files import write_atomically

PUBLIC, PUBLIC_KEY = "public.pem", "public.key"


def keep_public(
    authority: Path, host: str, certificate: Path | None, key: Path | None, now: int
) -> list[str]:
    """Put a certificate with its chain and its key beside the hub's own; returns its names.

    Args:
        host: that nodes dial.

    Raises:
        ConfigError: it cannot be used.
    """
    if certificate is None or key is None:
        raise ConfigError("public: give --certificate and --key, or --remove")
    try:
        whole = certificate.read_bytes()
        leaf = x509.load_pem_x509_certificates(whole)[0]
        private = load_pem_private_key(key.read_bytes(), password=None)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm, x509.ExtensionNotFound) as error:
        raise ConfigError(
            "public: no certificate with names, or no key without password"
        ) from error
    found = [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    if private.public_key() != leaf.public_key():
        raise ConfigError("public: the certificate is for another key; give the one of this key")
    begins, ends = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    if not found or not begins <= now < ends:
        raise ConfigError("public: the certificate names no host, or is not valid now")
    if covers(found, host):
        raise ConfigError(
            f"public: the certificate names {host}, which nodes dial; give the public another name"
        )
    data = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    # The key first: a hub that is being served takes a pair up once it holds together.
    write_secret(authority / PUBLIC_KEY, data)
    write_atomically(authority / PUBLIC, whole)
    return found


def remove_public(authority: Path) -> None:
    """Show the certificate no more; does nothing if there is none."""
    for name in (PUBLIC, PUBLIC_KEY):
        (authority / name).unlink(missing_ok=True)


def covers(names: list[str], host: str) -> bool:
    """Report whether one of the names, a wildcard perhaps, is a host's."""
    host = host.lower()
    return host in names or "*." + host.partition(".")[2] in names
