"""Whom a certificate names, and whether it counts: one answer for the API and for the link.

    ours       signed by the hub's authority: its SPIFFE URI names a node of this hub
    brought    signed by an authority that is trusted for one partner (`server.identity.trusted`)
    proxy      signed by the hub's authority for whatever stands in front of the API; it is nobody
               itself, and may hand on the certificates of others (`server.api.forwarding`)

TLS has verified that the other side holds the key. Whether its certificate is revoked or
superseded is asked for every request, and for open streams again and again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA256

from compliance.clock import Clock, SystemClock
from compliance.configuration import ConfigError
from compliance.state.errors import StateUnavailableError
from protocols.errors import InvalidProofError, MalformedMessageError
from server.identity.issued import Revocations
from server.identity.peer import is_proxy, parse_leaf
from server.identity.superseded import GRACE_S, Superseded
from server.identity.trusted import TrustedAuthorities, pem_text, verify_chain

_log = logging.getLogger("lianfang.identity")


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom a certificate names.

    Args:
        name: of the node; empty for a proxy.
        thumbprint: SHA-256 of the certificate (DER), to which tokens are bound.
        is_proxy: whether it may hand on the certificates of others.
        is_brought: whether an authority signed it that the hub may trust no more tomorrow.
    """

    name: str
    serial: int
    thumbprint: bytes
    is_proxy: bool = False
    is_brought: bool = False


class Admission:
    """Who is let in at one hub; any number of threads.

    Args:
        root: the hub's directory.
    """

    def __init__(
        self, root: Path, hub: str, *, clock: Clock | None = None, grace_s: int = GRACE_S
    ) -> None:
        self._authority = root / "authority"
        self._hub = hub
        self._clock = clock or SystemClock()
        self._revocations = Revocations(root)
        self._superseded = Superseded(root, self._clock, grace_s=grace_s)
        self._trusted = TrustedAuthorities(root, hub)
        self._own: tuple[tuple[int, int], x509.Certificate] | None = None
        self._known: tuple[object, str] = (None, "")

    def identify(self, der: bytes) -> Peer:
        """Return whom a certificate names that TLS has verified.

        Raises:
            MalformedMessageError: not a certificate.
            InvalidProofError: it names nobody here.
        """
        leaf = _parse(der)
        if not self._is_ours(leaf):
            return self._brought(leaf)
        if is_proxy(leaf, self._hub):
            return Peer("", leaf.serial_number, leaf.fingerprint(SHA256()), is_proxy=True)
        return _peer(parse_leaf(leaf, self._hub), leaf)

    def verify(self, der: bytes) -> Peer:
        """Return whom a certificate names of which nothing is verified yet.

        Raises:
            MalformedMessageError: not a certificate.
            InvalidProofError: its chain does not hold now, or it names no node here.
        """
        leaf = _parse(der)
        if self._is_ours(leaf):
            verify_chain(leaf, (self._certificate(),), self._clock.now())
        peer = self.identify(der)
        if peer.is_proxy:
            raise InvalidProofError("peer certificate: a proxy's names no node")
        return peer

    def bars(self, name: str, serial: int) -> bool:
        """Report whether a certificate is revoked, or its holder."""
        return self._revocations.bars(name, serial)

    def bars_proxy(self, serial: int) -> bool:
        """Report whether the certificate of a proxy is revoked; it has no holder's name."""
        return serial in self._revocations.serials()

    def has_ended(self, name: str, serial: int) -> bool:
        """Report whether a certificate was superseded, and its time is over.

        One that is not barred and comes for the first time puts those before it out of use.
        """
        self._superseded.meets(name, serial)
        return self._superseded.has_ended(name, serial)

    def is_superseded(self, name: str, serial: int) -> bool:
        """Report whether a certificate has a successor in use, from the first moment on."""
        return self._superseded.since(name, serial) is not None

    def roots(self) -> str:
        """Return the certificates of all authorities that are trusted (PEM)."""
        self.stamp()
        return pem_text(self._certificate()) + self._known[1]

    def stamp(self) -> object:
        """Return what changes with `roots`; while nothing can be looked up, nothing does."""
        try:
            mark = self._trusted.mark()
            if self._known[0] != mark:
                self._known = mark, self._trusted.bundle()
        except (ConfigError, StateUnavailableError):
            # What is damaged of one partner must not shut out everybody else; its own
            # certificates are refused where they are looked at.
            _log.warning("authorities of partners: cannot be read")
        self._certificate()
        return self._own and self._own[0], self._known[0]

    def moment(self) -> object:
        """Return what changes every second, and with whom is trusted."""
        return self._clock.now(), self.stamp()

    def _brought(self, leaf: x509.Certificate) -> Peer:
        try:
            name = self._trusted.peer_name(leaf, self._clock.now())
        except (ConfigError, StateUnavailableError) as error:
            raise InvalidProofError("peer certificate: authorities cannot be read") from error
        return replace(_peer(name, leaf), is_brought=True)

    def _is_ours(self, leaf: x509.Certificate) -> bool:
        try:
            leaf.verify_directly_issued_by(self._certificate())
        except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
            return False
        return True

    def _certificate(self) -> x509.Certificate:
        path = self._authority / "ca.crt"
        found = path.stat()
        stamp = found.st_ino, found.st_mtime_ns
        if self._own is None or self._own[0] != stamp:
            self._own = stamp, x509.load_pem_x509_certificate(path.read_bytes())
        return self._own[1]


def named_at(hub: str) -> Admits:
    """Return what names nodes by the hub's own authority alone, without its directory."""

    def name(der: bytes) -> Peer:
        leaf = _parse(der)
        return _peer(parse_leaf(leaf, hub), leaf)

    return name


Admits = Callable[[bytes], Peer]
"""Names the holder of a certificate (DER) that TLS has verified, or raises a ProtocolError."""


def _peer(name: str, leaf: x509.Certificate) -> Peer:
    return Peer(name, leaf.serial_number, leaf.fingerprint(SHA256()))


def _parse(der: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError as error:
        raise MalformedMessageError("peer certificate: not readable") from error
