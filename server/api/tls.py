"""The name of a caller, from the certificate that TLS has verified, and limits per connection.

uvicorn gives an application no client certificate. This protocol class reads it from the
connection and puts the name in it into `scope["extensions"]["lianfang.tls"]`. It also ends
what can hold a connection without ever becoming a request: a head that does not arrive, the
rest of a body that nobody waits for, an answer that is not fetched, and more connections than
allowed. What cannot be read as HTTP is answered with a problem too.

Written for uvicorn 0.49 (`uvicorn.protocols.http.h11_impl`).
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from http import HTTPStatus
from typing import Any

import h11
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from protocols.errors import InvalidProofError, MalformedMessageError
from server.api import problems
from server.api.corking import Corked
from server.api.forwarding import Forwarding, describe
from server.api.problems import MEDIA_TYPE, Problem, problem_document
from server.identity.admission import Admits

EXTENSION = "lianfang.tls"
# TLS and the head of a request are a few packets; whoever takes longer holds a place.
HANDSHAKE_TIMEOUT_S = 10.0
HEAD_TIMEOUT_S = 10.0
# How long a closed connection waits for the other side to say goodbye too.
GOODBYE_TIMEOUT_S = 1.0
MAX_HEAD_SIZE = 16 << 10
MAX_CONNECTIONS = 512
# Of one partner, or of one address without a certificate: the guard serves 64 at a time.
MAX_CONNECTIONS_EACH = 128
# How long an answer may stand still because the caller does not read on.
READING_TIMEOUT_S = 60.0


def partner_protocol(
    admits: Admits,
    *,
    forwarding: Forwarding | None = None,
    head_timeout_s: float = HEAD_TIMEOUT_S,
    reading_timeout_s: float = READING_TIMEOUT_S,
    connections_each: int = MAX_CONNECTIONS_EACH,
) -> type[H11Protocol]:
    """Return the protocol class of a hub.

    Args:
        admits: names the holders of certificates.
        forwarding: decides about certificates that proxies hand on; None believes no proxy.
        connections_each: connections of one partner, or of one address without certificate.
    """

    class PartnerProtocol(_PartnerProtocol):
        """One connection of a partner of this hub."""

        _admits = staticmethod(admits)
        _forwarding = forwarding or Forwarding((), admits)
        _head_timeout_s = head_timeout_s
        _reading_timeout_s = reading_timeout_s
        _connections_each = connections_each

    return PartnerProtocol


def shown_by(connection: ssl.SSLObject | None, admits: Admits) -> dict[str, Any]:
    """Return what a connection shows, as `describe` does; `certificate` is whether it shows one."""
    der = connection.getpeercert(binary_form=True) if connection is not None else None
    if der is None:
        return {"certificate": False, "name": None}
    try:
        peer = admits(der)
    except (InvalidProofError, MalformedMessageError):
        # Signed by an authority that is trusted here, yet no node's name: nobody we know.
        return {"certificate": True, "name": None}
    return describe(peer) | ({"is_brought": True} if peer.is_brought else {})


class _PartnerProtocol(H11Protocol):
    _admits: Admits
    _forwarding: Forwarding
    _head_timeout_s: float
    _reading_timeout_s: float
    _connections_each: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # uvicorn writes paths into its own access log as soon as any handler exists.
        self.access_log = False
        self._inner = self.app
        self.app = self._introduce
        self._peer: dict[str, Any] = {"certificate": False, "name": None}
        self._head_timer: asyncio.TimerHandle | None = None
        self._reading_timer: asyncio.TimerHandle | None = None
        self._caller = ""

    async def _introduce(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._peer.get("is_brought"):
            # Its authority may have been taken off the list since the connection was made.
            self._peer = self._shown()
        peer = self._forwarding.peer(scope, self._peer)
        scope.setdefault("extensions", {})[EXTENSION] = peer
        await self._inner(scope, receive, send)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        corked: Any = Corked(transport, self.loop)
        super().connection_made(corked)
        self._peer = self._shown()
        name, host = self._peer["name"], self.client[0] if self.client else ""
        self._caller = f"address {host}" if name is None else f"partner {name}"
        of_caller = sum(getattr(c, "_caller", "") == self._caller for c in self.connections)
        # A proxy brings everybody; the guard counts the requests of each.
        allowed = MAX_CONNECTIONS if self._peer.get("is_proxy") else self._connections_each
        if len(self.connections) > MAX_CONNECTIONS or of_caller > allowed:
            transport.abort()
            return
        self._await_head()

    def _shown(self) -> dict[str, Any]:
        return shown_by(self.transport.get_extra_info("ssl_object"), self._admits)

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_arrived()
        self._is_read_on()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        ours, theirs = self.conn.our_state, self.conn.their_state
        is_between = ours is h11.IDLE and theirs is h11.IDLE
        # Answered, and the rest of its body still comes: nobody reads or times it any more.
        is_left_over = ours in {h11.DONE, h11.MUST_CLOSE} and theirs is h11.SEND_BODY
        # Part of either leaves h11 where it is; the timer goes on and is not started anew.
        if is_between or is_left_over:
            self._await_head()
        else:
            self._head_arrived()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._reading_timer is None:
            self._reading_timer = self.loop.call_later(self._reading_timeout_s, self._cut_off)

    def resume_writing(self) -> None:
        self._is_read_on()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, or more of it than is taken, with a problem, then close."""
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            # The request is answered, and what follows it is nonsense: nothing more to say.
            self.transport.abort()
            return
        problem = self._problem()
        detail = msg.lower().rstrip(".") if problem.tells else None
        content = problem_document(problem, str(problem.code), detail=detail)
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(content)).encode()),
            (b"connection", b"close"),
        ]
        reason = HTTPStatus(problem.status).phrase.encode()
        for event in (
            h11.Response(status_code=problem.status, headers=headers, reason=reason),
            h11.Data(data=content),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _problem(self) -> Problem:
        """Name what h11 has just refused, by the status that it would answer."""
        error = sys.exception()
        hint = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
        if hint == HTTPStatus.NOT_IMPLEMENTED:
            return problems.TRANSFER_CODING
        if hint != HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
            return problems.UNREADABLE
        came, _ = self.conn.trailing_data
        # No end of the first line in all of it: the address alone is too long.
        return problems.HEAD_TOO_LARGE if b"\n" in came else problems.TARGET_TOO_LONG

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self._head_timeout_s, self._cut_off)

    def _head_arrived(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _is_read_on(self) -> None:
        if self._reading_timer is not None:
            self._reading_timer.cancel()
            self._reading_timer = None

    def _cut_off(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()
