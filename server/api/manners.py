"""What holds for a request whatever its route: HTTP that is read in one way only, HEAD, OPTIONS.

Refused here is what two programs could read differently, or what would cost more than it says:
another version of HTTP, a body with two lengths, a compressed one, an address or a head beyond
every honest one. So nothing of it depends on what stands in front of the hub.

Specification: RFC 9110, sections 8.4 (Content-Encoding), 9.3.2 (HEAD), 9.3.7 (OPTIONS), 10.2.1
(Allow), 15.5.6 (405), 15.6.6 (505); RFC 9112, section 6.1 (Transfer-Encoding and
Content-Length); RFC 6585, section 5 (431); RFC 7694, section 3 (Accept-Encoding in 415).
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api import problems
from server.api.problems import Problem, problem_response
from server.api.retiring import RETIRING, Retirement
from server.api.tls import MAX_HEAD_SIZE

# The longest address that means anything here has less than 200 bytes.
MAX_TARGET_SIZE = 2048
_VERSION = "1.1"
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_NO_CONTENT, _NOT_ALLOWED = 204, 405


class Manners:
    """ASGI middleware around the routes.

    Args:
        retiring: operations that will go away, by operation id.
    """

    def __init__(self, app: ASGIApp, *, retiring: Mapping[str, Retirement] = RETIRING) -> None:
        self._app = app
        self._retiring = retiring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif (refusal := refuse_head(scope)) is not None:
            await refusal(scope, receive, send)
        elif scope["method"] == "OPTIONS" and (allowed := allowed_methods(scope)):
            answer = Response(status_code=_NO_CONTENT, headers={"Allow": ", ".join(allowed)})
            await answer(scope, receive, send)
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_head = scope["method"] == "HEAD"

        async def mannered(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._complete(scope, message)
            elif is_head:
                message = {**message, "body": b""}
            await send(message)

        if not is_head:
            await self._app(scope, receive, mannered)
            return
        # Decided, entered and counted as the GET that it stands for: its head tells as much of
        # a table as the caller may know, and never without an entry.
        scope["method"] = "GET"
        try:
            await self._app(scope, receive, mannered)
        finally:
            scope["method"] = "HEAD"

    def _complete(self, scope: Scope, message: Message) -> None:
        if message["status"] == _NOT_ALLOWED and (allowed := allowed_methods(scope)):
            # The framework names the methods of the first route of several with this path.
            _headers_of(message)["Allow"] = ", ".join(allowed)
        operation = getattr(scope.get("route"), "operation_id", None)
        if (ending := self._retiring.get(str(operation))) is not None:
            for name, value in ending.headers().items():
                _headers_of(message)[name] = value


def refuse_head(scope: Scope) -> Response | None:
    """Judge what the head of a request says of itself; None if there is nothing against it."""
    if scope["http_version"] != _VERSION:
        return _refuse(problems.VERSION)
    if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_TARGET_SIZE:
        return _refuse(problems.TARGET_TOO_LONG)
    # One that came in a single piece was never incomplete, which is what the parser limits.
    if sum(len(name) + len(value) + 4 for name, value in scope["headers"]) > MAX_HEAD_SIZE:
        return _refuse(problems.HEAD_TOO_LARGE)
    headers = Headers(scope=scope)
    names = {name for name, _ in scope["headers"]}
    if {b"transfer-encoding", b"content-length"} <= names:
        return _refuse(problems.TWO_LENGTHS)
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        return _refuse(problems.CONTENT_ENCODING, {"Accept-Encoding": "identity"})
    return None


def allowed_methods(scope: Scope) -> tuple[str, ...]:
    """Return the methods that a path has; none where there is nothing."""
    found = [
        method
        for method in _METHODS
        if any(
            route.matches({**scope, "method": method})[0] is Match.FULL
            for route in scope["app"].routes
        )
    ]
    if not found:
        return ()
    head = ["HEAD"] if "GET" in found else []
    return (*found, *head, "OPTIONS")


def _headers_of(message: Message) -> MutableHeaders:
    message.setdefault("headers", [])
    return MutableHeaders(scope=message)


def _refuse(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    # What is left of the body must not be read as the next request.
    closing = {"Connection": "close", **(headers or {})}
    return problem_response(problem, str(problem.code), headers=closing)
