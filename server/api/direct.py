"""A route that is called for every lookup, without the framework's own way to its arguments.

The framework resolves each argument of an endpoint anew for every request, some of them in
threads; that costs more than a holder's evaluation. Here they are taken by hand, in the same
order: what a token may do, the caller, the header field. What is documented stays the same, and
so do the exceptions, which the application's own handlers answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from server.api.parts import Parts, caller_of, parts_of
from server.tokens.barrier import require_scope

Endpoint = Callable[[Request, Parts, str, str | None], Awaitable[Response]]
"""Takes the request, the services, the caller and the field Idempotency-Key."""


class DirectRoute(APIRoute):
    """A route of a router whose endpoints are all of the form `Endpoint`."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request whose path is this route's."""
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        request = Request(scope, receive, send)
        await require_scope(request)
        caller = caller_of(request)
        endpoint: Any = self.endpoint
        answer: Endpoint = endpoint
        response = await answer(
            request, parts_of(request), caller, request.headers.get("idempotency-key")
        )
        await response(scope, receive, send)
