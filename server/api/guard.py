"""What surrounds every request: limits, security headers, one log line, the last resort.

The log line has the route's template, never the path; the partner's name, never a header.
An exception that no table knows is answered with "internal error"; its type and the request
id go to the log, its text does not, since a library may have put a value into it.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections import Counter
from time import monotonic
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from compliance.log.errors import StorageError
from server.api.errors import BusyError
from server.api.forwarding import REFUSED
from server.api.problems import (
    FORWARDED,
    INTERNAL,
    SUPERSEDED,
    Problem,
    answer_error,
    problem_response,
)
from server.api.tls import EXTENSION

MAX_REQUESTS = 256
MAX_REQUESTS_EACH = 64
_log = logging.getLogger("lianfang.api")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# To the holder of the certificate alone, who may know it; whatever the route.
_REVOKED = Problem(403, "This partner was revoked.", tells=False)
REVOKED_CODE = "partner_revoked"
_NO_ANSWER = 499  # the client was gone before there was one
# As ASGI has them: in small letters.
_HEADERS = (
    (b"strict-transport-security", b"max-age=31536000"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_DEFAULTS = ((b"cache-control", b"no-store"),)
_ID = b"x-request-id"
_NAMES = frozenset({_ID, *(name for name, _ in _HEADERS)})


class Guard:
    """ASGI middleware, the outermost of the application.

    Args:
        most: requests at a time; further ones are refused and may be tried again.
        most_each: the same for one partner, so that none can take all places.
    """

    def __init__(
        self, app: ASGIApp, *, most: int = MAX_REQUESTS, most_each: int = MAX_REQUESTS_EACH
    ) -> None:
        self._app = app
        self._most = most
        self._most_each = most_each
        self._at_work: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        partner = scope.get("extensions", {}).get(EXTENSION, {}).get("name") or "-"
        exchange = _Exchange(scope, send, partner)
        if self._at_work.total() >= self._most or self._at_work[partner] >= self._most_each:
            await answer_error(BusyError("hub: too many requests at a time"))(
                scope, receive, exchange.send
            )
            exchange.tell()
            return
        self._at_work[partner] += 1
        try:
            await self._serve(scope, receive, exchange)
        finally:
            self._at_work[partner] -= 1
            if not self._at_work[partner]:
                del self._at_work[partner]
            exchange.tell()

    async def _serve(self, scope: Scope, receive: Receive, exchange: _Exchange) -> None:
        try:
            if (refusal := _refusal(scope, exchange)) is not None:
                await refusal(scope, receive, exchange.send)
            else:
                await self._app(scope, receive, exchange.send)
        except StorageError as error:
            # Who is let in cannot be looked up: nobody is, until the database is back.
            if exchange.status == _NO_ANSWER:
                await answer_error(error)(scope, receive, exchange.send)
        except Exception as error:  # noqa: BLE001  # the last resort: answered, logged, not told
            fields = {"event": "internal_error", "id": exchange.id, "type": type(error).__name__}
            _log.error(json.dumps(fields))
            if exchange.status == _NO_ANSWER:
                answer = problem_response(INTERNAL, "internal_error")
                await answer(scope, receive, exchange.send)


def _refusal(scope: Scope, exchange: _Exchange) -> Response | None:
    """Refuse a caller whose certificate counts no more, or is not its own: for every request.

    A connection outlives a revocation and a renewal; a request on it does not.
    """
    peer = scope.get("extensions", {}).get(EXTENSION, {})
    if (why := peer.get(REFUSED)) is not None:
        exchange.warn(str(FORWARDED.code), why)
        # What is left of the body must not be read as the next request.
        headers = {"Connection": "close"}
        return problem_response(FORWARDED, str(FORWARDED.code), headers=headers)
    # The parts of a hub have one; some routes alone, as another program may mount them, do not.
    enrolment = getattr(getattr(scope["app"].state, "parts", None), "enrolment", None)
    if enrolment is None or not isinstance(peer.get("name"), str):
        return None
    who = peer["name"], peer["serial"]
    if enrolment.bars(*who):
        return problem_response(_REVOKED, REVOKED_CODE)
    if enrolment.has_ended(*who):
        return problem_response(SUPERSEDED, str(SUPERSEDED.code), headers={"Connection": "close"})
    return None


class _Exchange:
    """One request and its answer, as far as the log may know them."""

    def __init__(self, scope: Scope, send: Send, partner: str) -> None:
        self.id = secrets.token_hex(8)
        self.status = _NO_ANSWER
        self._scope = scope
        self._send = send
        self._partner = partner
        self._began = monotonic()

    async def send(self, message: Message) -> None:
        """Pass on what the application sends, with our headers on its start."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            found = [item for item in message.get("headers", ()) if item[0] not in _NAMES]
            names = {name for name, _ in found}
            found += (item for item in _DEFAULTS if item[0] not in names)
            found.append((_ID, self.id.encode()))
            message["headers"] = [*found, *_HEADERS]
        await self._send(message)

    def warn(self, code: str, why: str) -> None:
        """Write a line about somebody who claims to be another, beside that of the request."""
        fields = {"event": "refused", "id": self.id, "code": code, "partner": self._partner}
        _log.warning(json.dumps({**fields, "why": why}))

    def tell(self) -> None:
        """Write the log line."""
        method = self._scope["method"]
        fields: dict[str, Any] = {
            "event": "request",
            "id": self.id,
            "method": method if method in _METHODS else "-",
            "route": getattr(self._scope.get("route"), "path", "-"),
            "status": self.status,
            "ms": round(1000 * (monotonic() - self._began), 1),
            "partner": self._partner,
        }
        _log.info(json.dumps(fields))
