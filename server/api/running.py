"""The API's server in a thread of the hub's process: start, its port, stop."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
import threading
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from protocols.link import TransportError
from server.addresses import Network
from server.api import tls
from server.api.certificates import LiveContext
from server.api.forwarding import Forwarding
from server.identity.admission import Admission, named_at
from server.identity.public import PUBLIC, PUBLIC_KEY
from server.identity.serving import ServerFiles

_log = logging.getLogger("lianfang.api")
KEEP_ALIVE_S = 30
_STOP_S = 5
_BACKLOG = 256
_READ_SIZE = 32 << 10


class ApiServer:
    """Serves one application over TLS; for one `start` and one `stop`.

    Args:
        hub: name of the hub, which every client certificate must carry.
        admission: who is let in beside those whom the hub's authority names; None is nobody.
        proxies: where proxies call from that hand on certificates; see `server.api.forwarding`.
        head_timeout_s, reading_timeout_s, connections_each: of connections; see `server.api.tls`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hub: str,
        admission: Admission | None = None,
        proxies: tuple[Network, ...] = (),
        head_timeout_s: float = tls.HEAD_TIMEOUT_S,
        reading_timeout_s: float = tls.READING_TIMEOUT_S,
        connections_each: int = tls.MAX_CONNECTIONS_EACH,
    ) -> None:
        self._app = app
        self._admission = admission
        self._protocol = tls.partner_protocol(
            named_at(hub) if admission is None else admission.identify,
            forwarding=None
            if admission is None
            else Forwarding(proxies, admission.verify, admission.moment, admission.bars_proxy),
            head_timeout_s=head_timeout_s,
            reading_timeout_s=reading_timeout_s,
            connections_each=connections_each,
        )
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self, host: str, port: int, *, authority: Path, certificate: Path, key: Path) -> int:
        """Listen and return the port, which is chosen if 0 was given.

        The files are read anew when they are replaced, and with them a certificate for public
        names that lies beside (`server.api.certificates`).

        Raises:
            TransportError: the address is taken or not ours.
            OSError: the certificate cannot be used.
        """
        context = self._context(authority, certificate, key).context
        try:
            # Bound here, so that a taken address is this call's error and not a thread's.
            listener = _listen(host, port)
        except OSError as error:
            raise TransportError(f"cannot listen at {host}:{port}", retryable=True) from error
        config = uvicorn.Config(
            self._app,
            http=self._protocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            # Paths hold no identifier, and still belong into no log but ours.
            access_log=False,
            # The caller is who its certificate says; a proxy's word is judged elsewhere.
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=_STOP_S,
            h11_max_incomplete_event_size=tls.MAX_HEAD_SIZE,
            ssl_context_factory=lambda _config, _default: context,
            backlog=_BACKLOG,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(
            target=_serve, args=(self._server, listener), name="api", daemon=True
        )
        self._thread.start()
        self._server.listening.wait()
        bound: int = listener.getsockname()[1]
        return bound

    def _context(self, authority: Path, certificate: Path, key: Path) -> LiveContext:
        admission = self._admission
        trusted: dict[str, Any] = {"roots": authority.read_text}
        if admission is not None:
            trusted = {"roots": admission.roots, "stamp": admission.stamp}
        public = certificate.with_name(PUBLIC), key.with_name(PUBLIC_KEY)
        return LiveContext(
            ServerFiles(certificate, key, **trusted), ServerFiles(*public, **trusted)
        )

    def stop(self) -> None:
        """Finish the requests at hand, within some seconds, and end the thread."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join()


class _Server(uvicorn.Server):
    """Tells another thread when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tell."""
        await super().startup(sockets)
        self.listening.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish, then cut off whoever is still there."""
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)


class _Loop(asyncio.SelectorEventLoop):
    """Gives up on TLS handshakes that take long; uvicorn has no setting for it."""

    async def create_server(self, *args: Any, **kwargs: Any) -> asyncio.Server:
        kwargs.setdefault("ssl_handshake_timeout", tls.HANDSHAKE_TIMEOUT_S)
        kwargs.setdefault("ssl_shutdown_timeout", tls.GOODBYE_TIMEOUT_S)
        return await super().create_server(*args, **kwargs)

    def _make_ssl_transport(
        self, rawsock: socket.socket, *args: Any, **kwargs: Any
    ) -> asyncio.Transport:
        """Watch the handshake, whose failure the loop would tell nobody (CPython 3.11 to 3.13)."""
        waiter = kwargs.get("waiter")
        if waiter is not None:
            host = rawsock.getpeername()[0]
            waiter.add_done_callback(partial(_tell_handshake, host))
        made: asyncio.Transport = super()._make_ssl_transport(  # type: ignore[misc]  # not in stubs
            rawsock, *args, **kwargs
        )
        _shrink(made)
        return made


def _shrink(transport: Any) -> None:
    """Have a connection read into a small buffer: it is there for as long as the connection.

    asyncio takes 256 KiB for each (CPython 3.11 to 3.13); a record of TLS has at most 16.
    """
    protocol = transport._ssl_protocol  # noqa: SLF001  # there is no setting for it
    protocol.max_size = _READ_SIZE
    protocol._ssl_buffer = bytearray(_READ_SIZE)  # noqa: SLF001  # as above
    protocol._ssl_buffer_view = memoryview(protocol._ssl_buffer)  # noqa: SLF001  # as above


def _tell_handshake(host: str, waiter: asyncio.Future[None]) -> None:
    """Log why a certificate was refused: the partner's operator sees a closed connection alone."""
    if waiter.cancelled():
        return
    error = waiter.exception()
    if isinstance(error, ssl.SSLCertVerificationError):
        fields = {"event": "certificate_refused", "from": host, "reason": error.verify_message}
        _log.warning(json.dumps(fields))


def _listen(host: str, port: int) -> socket.socket:
    """Bind a socket whose connections send at once.

    asyncio switches Nagle's algorithm off for sockets that say that they are TCP only; without
    that every answer waits 40 ms for an acknowledgement between its head and its body.
    """
    (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
    )
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _serve(server: _Server, listener: socket.socket) -> None:
    with asyncio.Runner(loop_factory=_Loop) as runner:
        runner.run(server.serve(sockets=[listener]))
