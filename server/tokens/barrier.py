"""Requests that show a token: it must be right, and its scope must cover the operation.

A certificate alone works as ever; a request with an `Authorization` header is judged by it before
any route sees it, on open routes too, so that a program notices a stale token at once. Whatever
is refused here is logged, and changes nothing.

The middleware verifies the token; whether its scopes cover the operation is asked by a dependency
that every route has, since no route is chosen before.

Specification: RFC 6750, sections 2.1 and 3; RFC 8705, section 3 (a token counts with the
certificate that it is bound to, and the refusal is `invalid_token`).
"""

from __future__ import annotations

import json
import logging
import re
from typing import Any

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.errors import ApiError, NotReadyError
from server.api.problems import answer_error
from server.api.tls import EXTENSION
from server.tokens.errors import InsufficientScopeError, InvalidTokenError
from server.tokens.scopes import NEVER, covers, scope_of
from server.tokens.tokens import Tokens

SCOPES = "lianfang.scopes"
_BEARER = re.compile(r"Bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE | re.ASCII)
_log = logging.getLogger("lianfang.api")


class TokenBarrier:
    """ASGI middleware around the routes, inside of everything that judges HTTP itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            shown = [value for name, value in scope["headers"] if name == b"authorization"]
            try:
                if shown:
                    scope.setdefault("extensions", {})[SCOPES] = _judge(
                        scope, [value.decode("latin-1") for value in shown]
                    )
            except ApiError as error:
                _tell(scope, error)
                await answer_error(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def require_scope(request: Request) -> None:
    """Refuse a request whose token does not serve for its operation; every route depends on it.

    Raises:
        InsufficientScopeError: names the scope that would do.
    """
    granted: frozenset[str] | None = request.scope.get("extensions", {}).get(SCOPES)
    if granted is None:
        return
    operation = str(getattr(request.scope.get("route"), "operation_id", ""))
    if not covers(granted, operation):
        needed = scope_of(operation)
        error = InsufficientScopeError("" if needed == NEVER else needed)
        _tell(request.scope, error)
        raise error


def _judge(scope: Scope, shown: list[str]) -> frozenset[str]:
    """Return the scopes of a token that holds.

    Raises:
        InvalidTokenError: it does not. NotReadyError: this hub gives no tokens.
    """
    parts = getattr(scope["app"].state, "parts", None)
    tokens: Tokens | None = getattr(parts, "tokens", None)
    if tokens is None:
        raise NotReadyError("no tokens are given here")
    found = _BEARER.fullmatch(shown[0]) if len(shown) == 1 else None
    if found is None:
        raise InvalidTokenError("authorization: needs one token, as Bearer and the token")
    peer: dict[str, Any] = scope.get("extensions", {}).get(EXTENSION, {})
    name = peer.get("name")
    if not isinstance(name, str):
        raise InvalidTokenError("token: shown without the certificate that it is bound to")
    granted = tokens.take(found[1], name, peer["thumbprint"])
    if tokens.is_superseded(name, peer["serial"]):
        raise InvalidTokenError("token: its certificate was renewed; ask with the new one")
    return granted.scopes


def _tell(scope: Scope, error: ApiError) -> None:
    """Log a refusal: who showed the certificate, and why; nothing of the token."""
    name = scope.get("extensions", {}).get(EXTENSION, {}).get("name") or "-"
    fields = {"event": "token_refused", "code": error.code, "partner": name, "why": str(error)}
    _log.warning(json.dumps(fields))
