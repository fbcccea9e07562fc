"""What holds for a request whatever its page: one host, HTTP/1.1, a head of an honest size.

A host name that leads here and is not ours (DNS rebinding) meets an error, because browsers
keep what one host may see by that name.

Specification: RFC 9110, sections 7.2 (Host) and 15.5.20; RFC 6585, section 5 (431).
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

MAX_TARGET_SIZE = 2048
MAX_HEAD_SIZE = 16 << 10
Refuse = Callable[[Request, int, str], Response]


class Manners:
    """ASGI middleware around the routes.

    Args:
        host: name and port as browsers of this site send them.
        refuse: makes the answer to a request of a status and a code.
    """

    def __init__(self, app: ASGIApp, *, host: str, refuse: Refuse) -> None:
        self._app = app
        self._host = host.lower()
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        refusal = self._judge(scope)
        if refusal is None:
            await self._app(scope, receive, send)
            return
        # In a thread, because telling in which language it is refused may ask the disk.
        response = await run_in_threadpool(self._refuse, Request(scope, receive), *refusal)
        await response(scope, receive, send)

    def _judge(self, scope: Scope) -> tuple[int, str] | None:
        headers = [(name.lower(), value) for name, value in scope["headers"]]
        hosts = [value.decode("latin-1").lower() for name, value in headers if name == b"host"]
        if hosts != [self._host]:
            return 400, "wrong_host"
        if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_TARGET_SIZE:
            return 400, "target_too_long"
        if sum(len(name) + len(value) + 4 for name, value in headers) > MAX_HEAD_SIZE:
            return 431, "head_too_large"
        return None
