"""What the authority has issued and what is revoked, as the hub keeps it for all its processes.

    issued/<serial>        one document for each certificate of a node: name and times
    revoked/revoked.crl    serial numbers that count no more, signed by the authority (RFC 5280)
    partners/<name>.json   has `revoked_at` once a partner is revoked

A certificate is refused when its name is revoked, or its serial number. Both are looked up for
every request and again and again for open streams: a revocation by another process counts
within the second (`server.keeping.shelves.FRESH_S`), and after a restart too.

Durability: `Issued.add` returns when the document is kept; the list is replaced as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from compliance.configuration import ConfigError
from server.identity.authority import Authority
from server.keeping.partners import parse_object
from server.keeping.place import keeping_of

ISSUED = "issued"
REVOKED = "revoked"
LIST = "revoked.crl"
_REVOKED_AT = "revoked_at"


class Bars(Protocol):
    """Who is let in no more."""

    def bars(self, name: str, serial: int) -> bool:
        """Report whether a certificate of this name and serial number counts no more."""
        ...


def is_revoked(kept: Mapping[str, Any]) -> bool:
    """Report whether a partner's file says that it was revoked."""
    return _REVOKED_AT in kept


class Issued:
    """The list of certificates that an authority has issued to nodes.

    Args:
        root: the hub's directory.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def add(self, name: str, certificate: bytes, now: int) -> None:
        """Note a certificate (PEM), before it is given away; durable when this returns."""
        leaf = x509.load_pem_x509_certificate(certificate)
        serial = f"{leaf.serial_number:x}"
        line = {
            "serial": serial,
            "name": name,
            "at": now,
            "until": int(leaf.not_valid_after_utc.timestamp()),
        }
        keeping_of(self._root).documents(ISSUED).put(serial, json.dumps(line).encode())

    def serials(self, name: str) -> list[int]:
        """Return the serial numbers that were issued under a name, the oldest first."""
        return [serial for serial, _ in self._under(name)]

    def before(self, name: str, serial: int) -> list[int]:
        """Return the serial numbers that were issued under a name in seconds before one was."""
        found = self._under(name)
        issued_at = dict(found).get(serial)
        return [] if issued_at is None else [item for item, at in found if at < issued_at]

    def _under(self, name: str) -> list[tuple[int, int]]:
        """Return serial numbers and when they were issued."""
        kept = keeping_of(self._root).documents(ISSUED).all()
        lines = [parse_object(data, f"{ISSUED}/{serial}") for serial, data in kept.items()]
        found = [line for line in lines if line.get("name") == name]
        found.sort(key=lambda line: (line["at"], line["serial"]))
        return [(int(str(line["serial"]), 16), int(line["at"])) for line in found]


class Revocations:
    """Who is revoked at a hub; any number of threads, and of processes.

    Args:
        root: the hub's directory.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: tuple[bytes | None, frozenset[int]] = (None, frozenset())

    def bars(self, name: str, serial: int) -> bool:
        """Report whether a certificate counts no more.

        Raises:
            ConfigError: what is kept is damaged; nobody is let in then.
            StateUnavailableError: it cannot be looked up; nobody is let in then.
        """
        kept = keeping_of(self._root).partners.find(name)
        if kept is not None and is_revoked(kept):
            return True
        return serial in self.serials()

    def serials(self) -> frozenset[int]:
        """Return the serial numbers on the list."""
        data = keeping_of(self._root).shelf(REVOKED).get(LIST)
        known = self._known
        if known[0] != data:
            serials = frozenset(entry.serial_number for entry in _entries(data))
            known = self._known = data, serials
        return known[1]

    def add(self, authority: Authority, serials: Iterable[int], now: int) -> None:
        """Put serial numbers on the list; those that stand there stay, with their dates."""
        shelf, new = keeping_of(self._root).shelf(REVOKED), set(serials)
        while True:
            old = shelf.current(LIST)
            if shelf.replace(LIST, old, _signed(authority, _entries(old), new, now)):
                return  # else another process has put some on it meanwhile


def _signed(
    authority: Authority, old: list[x509.RevokedCertificate], serials: set[int], now: int
) -> bytes:
    at = datetime.fromtimestamp(now, UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(at)
        # It is read by the hub's own processes alone, and replaced when it changes.
        .next_update(authority.certificate.not_valid_after_utc)
    )
    for entry in old:
        builder = builder.add_revoked_certificate(entry)
    for serial in sorted(serials - {entry.serial_number for entry in old}):
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at).build()
        )
    return builder.sign(authority.key, SHA256()).public_bytes(Encoding.PEM)


def _entries(data: bytes | None) -> list[x509.RevokedCertificate]:
    if data is None:
        return []
    try:
        return list(x509.load_pem_x509_crl(data))
    except ValueError as error:
        raise ConfigError(f"{LIST}: not a revocation list; restore it from a backup") from error
