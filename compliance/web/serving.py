"""Serving a site over TLS: start, its port, stop; and an end for connections that only wait.

Written for uvicorn 0.49 (`uvicorn.protocols.http.h11_impl`).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from compliance.atrest.secrets import secret_file
from compliance.configuration import ConfigError
from compliance.web.certificates import Certificate
from compliance.web.manners import MAX_HEAD_SIZE

HEAD_TIMEOUT_S = 10.0
KEEP_ALIVE_S = 30
MAX_CONNECTIONS = 512
MAX_CONNECTIONS_EACH = 128
_STOP_S = 5
_BACKLOG = 128


class _Protocol(H11Protocol):
    """One connection; cut off where the head of a request does not arrive."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        super().connection_made(transport)
        host = self.client[0] if self.client else ""
        alike = sum(c.client is not None and c.client[0] == host for c in self.connections)
        if len(self.connections) > MAX_CONNECTIONS or alike > MAX_CONNECTIONS_EACH:
            transport.abort()
            return
        self._timer = self.loop.call_later(HEAD_TIMEOUT_S, self._cut_off)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # What is left after it is only what uvicorn itself limits: keep-alive, and bodies.
        if self.cycle is not None:
            self._stop_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cut_off(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()


class SiteServer:
    """Serves one site; for one `start` and one `stop`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self, listener: socket.socket, certificate: Certificate) -> None:
        """Serve on a socket that was bound by `listen`.

        Raises:
            ConfigError: certificate or key cannot be used.
        """
        context = _context(certificate)
        config = uvicorn.Config(
            self._app,
            http=_Protocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            # Which proxy may speak for a browser, the site itself knows.
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=_STOP_S,
            h11_max_incomplete_event_size=MAX_HEAD_SIZE,
            ssl_context_factory=lambda _config, _default: context,
            backlog=_BACKLOG,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(
            target=_serve, args=(self._server, listener), name="console", daemon=True
        )
        self._thread.start()
        self._server.listening.wait()

    def stop(self) -> None:
        """Finish the requests at hand, within some seconds, and end the thread."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join()


def listen(host: str, port: int) -> socket.socket:
    """Bind a socket; 0 takes a free port.

    Raises:
        ConfigError: the address is taken or not ours.
    """
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )
        # It says that it is TCP only: asyncio then sends small answers at once.
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ConfigError(f"port: cannot listen at {host}:{port}; choose another --port") from error
    return listener


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


def _context(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    try:
        with secret_file(certificate.key) as key:
            context.load_cert_chain(certificate.path, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            "certificate: it and its key cannot be used; give both as PEM, belonging together"
        ) from error
    return context


def _serve(server: _Server, listener: socket.socket) -> None:
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(server.serve(sockets=[listener]))
