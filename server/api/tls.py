"""The name of a caller, from the certificate that TLS has verified, and limits per connection.

uvicorn gives an application no client certificate. This protocol class reads it from the
connection and puts the name in it into `scope["extensions"]["lianfang.tls"]`. It also ends
what can hold a connection without ever becoming a request: a head that does not arrive, and
more connections than allowed. What cannot be read as HTTP is answered with a problem too.

Written for uvicorn 0.49 (`uvicorn.protocols.http.h11_impl`).
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import h11
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from protocols.errors import InvalidProofError, MalformedMessageError
from server.api.problems import MEDIA_TYPE, Problem, problem_document
from server.identity.peer import parse_peer, serial_number

EXTENSION = "lianfang.tls"
# TLS and the head of a request are a few packets; whoever takes longer holds a place.
HANDSHAKE_TIMEOUT_S = 10.0
HEAD_TIMEOUT_S = 10.0
# How long a closed connection waits for the other side to say goodbye too.
GOODBYE_TIMEOUT_S = 1.0
MAX_HEAD_SIZE = 16 << 10
MAX_CONNECTIONS = 512
_UNREADABLE = Problem(400, "The request could not be read.", code="bad_request")


def server_context(*, authority: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """Return TLS 1.2 or later that asks for a client certificate and verifies one it gets.

    Sessions are never resumed: every connection shows its certificate anew, so that an
    expired one ends with its connection.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(authority)
    # Health checks come without one; every other route asks for the name.
    context.verify_mode = ssl.CERT_OPTIONAL
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    return context


def partner_protocol(hub: str, *, head_timeout_s: float = HEAD_TIMEOUT_S) -> type[H11Protocol]:
    """Return the protocol class for the hub whose name certificates must carry."""

    class PartnerProtocol(_PartnerProtocol):
        """One connection of a partner of this hub."""

        _hub = hub
        _head_timeout_s = head_timeout_s

    return PartnerProtocol


def peer_name(connection: ssl.SSLObject | None, hub: str) -> dict[str, Any]:
    """Return `{"certificate": shown or not, "name": of the node or None, "serial": its number}`."""
    der = connection.getpeercert(binary_form=True) if connection is not None else None
    if der is None:
        return {"certificate": False, "name": None}
    pem = ssl.DER_cert_to_PEM_cert(der).encode()
    try:
        name, serial = parse_peer(pem, hub), serial_number(pem)
    except (InvalidProofError, MalformedMessageError):
        # Signed by our authority, yet no node's name: nobody we know.
        return {"certificate": True, "name": None}
    return {"certificate": True, "name": name, "serial": serial}


class _PartnerProtocol(H11Protocol):
    _hub: str
    _head_timeout_s: float

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # uvicorn writes paths into its own access log as soon as any handler exists.
        self.access_log = False
        self._inner = self.app
        self.app = self._introduce
        self._peer: dict[str, Any] = {"certificate": False, "name": None}
        self._head_timer: asyncio.TimerHandle | None = None

    async def _introduce(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("extensions", {})[EXTENSION] = self._peer
        await self._inner(scope, receive, send)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._peer = peer_name(transport.get_extra_info("ssl_object"), self._hub)
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

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP with a problem, then close."""
        content = problem_document(_UNREADABLE, "bad_request", detail=msg.lower().rstrip("."))
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(content)).encode()),
            (b"connection", b"close"),
        ]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=content),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

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
