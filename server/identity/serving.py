"""The certificate that a server shows, read anew when it was replaced: no restart, no pause.

`lianfang-hub renew` replaces the key first and the certificate after it; between the two, and
while a file is damaged, the pair before goes on being served. So does what is connected already.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from compliance.atrest.secrets import read_secret
from compliance.configuration import ConfigError

_log = logging.getLogger("lianfang.identity")


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its chain and its key (PEM), which belong together."""

    certificate: bytes
    key: bytes = field(repr=False)

    def names(self) -> list[str]:
        """Return the host names in the certificate."""
        leaf = x509.load_pem_x509_certificate(self.certificate)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return names.get_values_for_type(x509.DNSName)


class ServerFiles:
    """The files of one server's certificate; for any number of threads.

    Args:
        roots: the certificates (PEM) by which clients are verified; `stamp` changes with them.
    """

    def __init__(
        self,
        certificate: Path,
        key: Path,
        *,
        roots: Callable[[], str],
        stamp: Callable[[], object] = lambda: None,
    ) -> None:
        self._paths = certificate, key
        self._roots = roots
        self._stamp = stamp
        self._told: object = None

    @property
    def paths(self) -> tuple[Path, Path]:
        """Return where certificate and key lie."""
        return self._paths

    def stamp(self) -> object:
        """Return what changes when a file was replaced, or whom clients are verified by."""
        return tuple(_stamp(path) for path in self._paths), self._stamp()

    def roots(self) -> str:
        """Return by whom clients are verified (PEM)."""
        return self._roots()

    def read(self) -> Pair | None:
        """Return the pair; None while it does not hold together."""
        try:
            found = Pair(self._paths[0].read_bytes(), read_secret(self._paths[1]))
            leaf = x509.load_pem_x509_certificate(found.certificate)
            key = load_pem_private_key(found.key, password=None)
        except (ConfigError, OSError, ValueError, TypeError, UnsupportedAlgorithm):
            self._warn("cannot be read")
            return None
        if key.public_key() != leaf.public_key():
            self._warn("is for another key")
            return None
        return found

    def _warn(self, what: str) -> None:
        stamp = self.stamp()
        if self._told != stamp:
            self._told = stamp
            _log.warning("%s: %s; the one before is served on", self._paths[0].name, what)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
