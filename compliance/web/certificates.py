"""A certificate for localhost, made here: browsers want HTTPS for passkeys and secure cookies.

Nobody else vouches for it, so that a browser asks once whether it is the right one; its
fingerprint is told where the screens are served. A site that others reach has a certificate of
its own, or a reverse proxy with one.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from compliance.atrest.secrets import write_secret
from compliance.configuration import ConfigError
from compliance.files import write_atomically

DAYS, RENEW_DAYS = 365, 30
HOST = "localhost"
_CERTIFICATE, _KEY = "local.pem", "local.key"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key, as files."""

    path: Path
    key: Path

    @property
    def fingerprint(self) -> str:
        """Return SHA-256 of the certificate, as browsers write it.

        Raises:
            ConfigError: the file cannot be read.
        """
        digest = _read(self.path).fingerprint(SHA256()).hex().upper()
        return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))


def local_certificate(directory: Path, now: int) -> Certificate:
    """Return the certificate for localhost of a directory; makes it, or another before it ends."""
    found = Certificate(directory / _CERTIFICATE, directory / _KEY)
    if not found.path.exists() or not found.key.exists() or _ends(found.path, now):
        _make(found, datetime.fromtimestamp(now, UTC))
    return found


def _ends(path: Path, now: int) -> bool:
    left = _read(path).not_valid_after_utc - datetime.fromtimestamp(now, UTC)
    return left < timedelta(days=RENEW_DAYS)


def _read(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path.name}: no certificate; correct the path") from error


def _make(found: Certificate, at: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    hosts: list[x509.GeneralName] = [x509.DNSName(HOST)]
    hosts += [x509.IPAddress(ipaddress.ip_address(text)) for text in ("127.0.0.1", "::1")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - timedelta(hours=1))
        .not_valid_after(at + timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    # The key first: a certificate without its key would be taken for a whole one.
    write_secret(found.key, private)
    write_atomically(found.path, certificate.public_bytes(Encoding.PEM))
