"""What the authority has issued and what is revoked, in files that every process reads.

    authority/issued.jsonl   one line for each certificate of a node: serial number, name, times
    authority/revoked.crl    serial numbers that count no more, signed by the authority (RFC 5280)
    partners/<name>.json     has `revoked_at` once a partner is revoked

A certificate is refused when its name is revoked, or its serial number. Both are looked up for
every request and again and again for open streams, from files that are read anew when they have
changed: a revocation by another process counts within the second, and after a restart too.

Durability: `Issued.add` returns when the line is on disk; the list is replaced as a whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from compliance.configuration import ConfigError, read_object
from compliance.files import FILE_MODE, write_atomically
from server.identity.authority import Authority

ISSUED = "issued.jsonl"
REVOKED = "revoked.crl"
_REVOKED_AT = "revoked_at"
_Read = TypeVar("_Read")
_Stamp = tuple[int, int, int]


class Bars(Protocol):
    """Who is let in no more."""

    def bars(self, name: str, serial: int) -> bool:
        """Report whether a certificate of this name and serial number counts no more."""
        ...


def is_revoked(kept: Mapping[str, Any]) -> bool:
    """Report whether a partner's file says that it was revoked."""
    return _REVOKED_AT in kept


class Issued:
    """The list of certificates that an authority has issued to nodes."""

    def __init__(self, authority: Path) -> None:
        self._path = authority / ISSUED

    def add(self, name: str, certificate: bytes, now: int) -> None:
        """Note a certificate (PEM), before it is given away; durable when this returns."""
        leaf = x509.load_pem_x509_certificate(certificate)
        line = {
            "serial": f"{leaf.serial_number:x}",
            "name": name,
            "at": now,
            "until": int(leaf.not_valid_after_utc.timestamp()),
        }
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        descriptor = os.open(self._path, flags, FILE_MODE)
        try:
            # In one piece: processes that append at once do not mix their lines. The end of a
            # line comes first, after one that a crash cut off.
            os.write(descriptor, f"\n{json.dumps(line)}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def serials(self, name: str) -> list[int]:
        """Return the serial numbers that were issued under a name."""
        return [int(str(line["serial"]), 16) for line in self._lines() if line["name"] == name]

    def _lines(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        found = []
        for text in self._path.read_text().split("\n"):
            try:
                line = json.loads(text)
            except ValueError:
                # Empty, or cut off by a crash: that certificate was never given away.
                continue
            if isinstance(line, dict):
                found.append(line)
        return found


class Revocations:
    """Who is revoked at a hub; any number of threads, and of processes.

    Args:
        root: the hub's directory.
    """

    def __init__(self, root: Path) -> None:
        self._partners = root / "partners"
        self._list = root / "authority" / REVOKED
        self._known: dict[Path, tuple[_Stamp, Any]] = {}

    def bars(self, name: str, serial: int) -> bool:
        """Report whether a certificate counts no more.

        Args:
            name: as a verified certificate says, so that it is safe in a path.

        Raises:
            ConfigError: a file is damaged; nobody is let in then.
        """
        kept = self._read(self._partners / f"{name}.json", read_object)
        if kept is not None and is_revoked(kept):
            return True
        return serial in (self._read(self._list, _serials) or frozenset())

    def serials(self) -> frozenset[int]:
        """Return the serial numbers on the list."""
        return self._read(self._list, _serials) or frozenset()

    def add(self, authority: Authority, serials: Iterable[int], now: int) -> None:
        """Put serial numbers on the list; those that stand there stay, with their dates."""
        at = datetime.fromtimestamp(now, UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(authority.certificate.subject)
            .last_update(at)
            # It is read from this directory alone, and replaced when it changes.
            .next_update(authority.certificate.not_valid_after_utc)
        )
        old = _entries(self._list) if self._list.exists() else []
        for entry in old:
            builder = builder.add_revoked_certificate(entry)
        for serial in sorted(set(serials) - {entry.serial_number for entry in old}):
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at).build()
            )
        signed = builder.sign(authority.key, SHA256())
        write_atomically(self._list, signed.public_bytes(Encoding.PEM))

    def _read(self, path: Path, read: Callable[[Path], _Read]) -> _Read | None:
        """Return a file's contents, read again when it is another than before; None without it."""
        try:
            found = path.stat()
        except FileNotFoundError:
            return None
        stamp = (found.st_ino, found.st_size, found.st_mtime_ns)
        known = self._known.get(path)
        if known is None or known[0] != stamp:
            # Stamped before it was read: if it is replaced in between, it is read once more.
            known = self._known[path] = stamp, read(path)
        value: _Read = known[1]
        return value


def _serials(path: Path) -> frozenset[int]:
    return frozenset(entry.serial_number for entry in _entries(path))


def _entries(path: Path) -> list[x509.RevokedCertificate]:
    try:
        return list(x509.load_pem_x509_crl(path.read_bytes()))
    except ValueError as error:
        raise ConfigError(
            f"{path.name}: not a revocation list; restore it from a backup"
        ) from error
