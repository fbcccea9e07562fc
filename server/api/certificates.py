"""TLS of the API: its certificate is chosen for each connection, by name, and read anew.

Nodes dial the host of hub.json and know the hub by its own authority, whose certificate they are
shown. Under its public names, if the operator has brought a certificate for such, others are
shown that one (RFC 6066, section 3: server name indication). Both are replaced while the server
runs, and so are the authorities by which clients are verified.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from compliance.atrest.secrets import secret_file
from server.identity.public import covers
from server.identity.serving import ServerFiles


class LiveContext:
    """What every new connection is served with; for the thread of one event loop.

    Args:
        files: of the hub's own certificate.
        public: of one brought along for public names; its files may be absent.

    Raises:
        OSError: the hub's own certificate cannot be used.
    """

    def __init__(self, files: ServerFiles, public: ServerFiles | None = None) -> None:
        self._files = files
        self._public = public
        self._seen: object = None
        self._own: ssl.SSLContext | None = None
        self._other: ssl.SSLContext | None = None
        self._names: list[str] = []
        if files.read() is None:
            raise OSError(f"{files.paths[0].name}: cannot be used; run `lianfang-hub renew`")
        self.context: ssl.SSLContext = _context(files, files.roots())
        # Asked for every connection, whether it names a server or not.
        self.context.sni_callback = self._choose
        self._refresh()

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        self._refresh()
        chosen = self._other if name is not None and self._is_public(name) else self._own
        if chosen is not None:
            connection.context = chosen

    def _is_public(self, name: str) -> bool:
        return self._other is not None and covers(self._names, name)

    def _refresh(self) -> None:
        stamp = self._files.stamp(), self._public and self._public.stamp()
        if stamp == self._seen:
            return
        roots = self._files.roots()
        own = self._files.read()
        if own is not None:
            self._own = _context(self._files, roots)
        if self._public is not None and self._public.paths[0].exists():
            other = self._public.read()
            if other is not None:
                self._other = _context(self._public, roots)
                self._names = [name.lower() for name in other.names()]
        else:
            self._other = None
        self._seen = stamp


def _context(files: ServerFiles, roots: str) -> ssl.SSLContext:
    certificate, key = files.paths
    return server_context(roots, certificate=certificate, key=key)


def server_context(roots: str, *, certificate: Path, key: Path) -> ssl.SSLContext:
    """Return TLS 1.2 or later that asks for a client certificate and verifies one it gets.

    Sessions are never resumed: every connection shows its certificate anew, so that an
    expired one ends with its connection.

    Args:
        roots: by whom clients are verified (PEM).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with secret_file(key) as clear:
        context.load_cert_chain(certificate, clear)
    context.load_verify_locations(cadata=roots)
    # Health checks come without one; every other route asks for the name.
    context.verify_mode = ssl.CERT_OPTIONAL
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    return context
