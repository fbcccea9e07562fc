"""The witness over HTTP: POST /add-checkpoint, and nothing else.

For witnesses that may be reached; a partner that opens no port answers the same requests over
its standing link (`Witness.answer`). Without a certificate it listens on this machine alone.
There is no caller to be told apart: who may ask is decided by the signature on the checkpoint.

Source:
    C2SP tlog-witness (https://c2sp.org/tlog-witness), C2SP@055270b, add-checkpoint. Written
    for uvicorn 0.49 (`uvicorn.protocols.http.h11_impl`).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import threading
from functools import partial
from pathlib import Path
from typing import Any

import h11
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from clients.witness.service import Witness
from compliance.configuration import ConfigError
from protocols.link import TransportError
from protocols.tlog.asking import WitnessAnswer
from protocols.tlog.witness import MAX_REQUEST_SIZE, TEXT_TYPE, Reason, Refused

PATH = "/add-checkpoint"
HEAD_TIMEOUT_S = 10.0
BODY_TIMEOUT_S = 10.0
MAX_CONNECTIONS = 64
MAX_HEAD_SIZE = 16 << 10
_BACKLOG = 64
_STOP_S = 5
_MAX_PORT = 65_535


class WitnessServer:
    """Serves one witness; for one `start` and one `stop`.

    Args:
        head_timeout_s, body_timeout_s: how long a request may take to arrive.
    """

    def __init__(
        self,
        witness: Witness,
        *,
        head_timeout_s: float = HEAD_TIMEOUT_S,
        body_timeout_s: float = BODY_TIMEOUT_S,
    ) -> None:
        self._witness = witness
        self._protocol = partial(_Patient, head_timeout_s)
        self._body_timeout_s = body_timeout_s
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self, host: str, port: int, context: ssl.SSLContext | None = None) -> int:
        """Listen, over TLS if there is a context, and return the port, chosen if 0 was given.

        Raises:
            ConfigError: without TLS, and the address can be reached from elsewhere.
            TransportError: the address is taken or not ours.
        """
        if context is None and not _is_loopback(host):
            raise ConfigError(
                "witness: without TLS it listens on 127.0.0.1 or ::1 only; add --certificate and "
                "--key, or take a loopback address"
            )
        try:
            listener = _listen(host, port)
        except OSError as error:
            raise TransportError(f"cannot listen at {host}:{port}", retryable=True) from error
        config = uvicorn.Config(
            self._serve,
            http=self._protocol,  # type: ignore[arg-type]  # it is called, as a class would be
            interface="asgi3",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=30,  # logs ask every few seconds, and should keep the connection
            timeout_graceful_shutdown=_STOP_S,
            h11_max_incomplete_event_size=MAX_HEAD_SIZE,
            backlog=_BACKLOG,
            ssl_context_factory=None if context is None else lambda _config, _default: context,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(
            target=_run, args=(self._server, listener), name="witness-http", daemon=True
        )
        self._thread.start()
        self._server.listening.wait()
        bound: int = listener.getsockname()[1]
        return bound

    def stop(self) -> None:
        """Finish the requests at hand, within some seconds, and end the thread."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            answer = await self._answer(Request(scope, receive))
        except ClientDisconnect:
            return
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.url.path != PATH:
            return _plain(404, "not found\n")
        if request.method != "POST":
            return _plain(405, "post a request\n", {"Allow": "POST"})
        body = await _read(request, self._body_timeout_s)
        if body is None:
            return _plain(408, "too slow\n", {"Connection": "close"})
        if len(body) > MAX_REQUEST_SIZE:
            answer = WitnessAnswer(*Refused(Reason.MALFORMED).answer)
            return _response(answer, {"Connection": "close"})
        # Reading, signing and storing wait for the disk: not in the thread of the network.
        return _response(await asyncio.to_thread(self._witness.add_checkpoint, body))


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return TLS 1.2 or later with the witness's certificate.

    Raises:
        ConfigError: certificate and key cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        raise ConfigError(
            "witness: certificate and key cannot be read or do not belong together; correct them"
        ) from error
    return context


def parse_address(text: str) -> tuple[str, int]:
    """Read HOST:PORT; an IPv6 address stands in brackets.

    Raises:
        ConfigError: it is none.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdecimal() or len(port) > 5:  # noqa: PLR2004 - digits of a port
        raise ConfigError("listen: needs HOST:PORT, such as 127.0.0.1:8460; correct it")
    if int(port) > _MAX_PORT:
        raise ConfigError(f"listen: the port must be 0 to {_MAX_PORT}; correct it")
    return host.removeprefix("[").removesuffix("]"), int(port)


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


class _Patient(H11Protocol):
    """Waits for the head of a request for some seconds only, and for so many at a time."""

    def __init__(self, head_timeout_s: float, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timeout_s = head_timeout_s
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # Part of a head leaves h11 idle; the timer goes on and is not started anew.
        if self.conn.their_state is h11.IDLE and self.conn.our_state is h11.IDLE:
            self._await_head()
        else:
            self._head_arrived()

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self._head_timeout_s, self._head_late)

    def _head_arrived(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.abort()


async def _read(request: Request, timeout_s: float) -> bytes | None:
    """Return the body, or one byte more than is allowed of it; None if it is too slow."""
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_REQUEST_SIZE:
                    break
    except TimeoutError:
        return None
    return bytes(body[: MAX_REQUEST_SIZE + 1])


def _response(answer: WitnessAnswer, headers: dict[str, str] | None = None) -> Response:
    # Set as a header, the type is sent as it is: the framework would add a charset to it.
    sent = {"Content-Type": answer.content_type, "Cache-Control": "no-store", **(headers or {})}
    return Response(answer.body, answer.status, headers=sent)


def _plain(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return _response(WitnessAnswer(status, TEXT_TYPE, text.encode()), headers)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(host: str, port: int) -> socket.socket:
    """Bind a socket that says that it is TCP: asyncio then sends small answers at once."""
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


def _run(server: _Server, listener: socket.socket) -> None:
    # A loop of its own kind: the default one of some systems has no sockets.
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(server.serve(sockets=[listener]))
