"""Which version of the wire a caller of the API speaks: asked before any route, told always.

Programs say it in a header; one that says nothing is of the time before this was asked. Checks
of a hub's health, and people who read its document, need no version.
"""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from protocols.errors import MalformedMessageError
from protocols.versions import HEADER, IncompatibleVersionError, offer, require_neighbours
from server.api.problems import answer_error

_PREFIX = "/v1/"
_NAME = HEADER.encode()
_REMEMBERED = 16


class Wire:
    """ASGI middleware around the routes.

    Args:
        ours: what this hub offers.
    """

    def __init__(self, app: ASGIApp, *, ours: str = offer()) -> None:
        self._app = app
        self._ours = ours
        self._told = (_NAME, ours.encode())
        self._neighbours: set[bytes] = set()  # what was offered and found good

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = [item for item in message.get("headers", ()) if item[0] != _NAME]
                message["headers"] = [*found, self._told]
            await send(message)

        refusal = self._refuse(scope)
        await (refusal or self._app)(scope, receive, told)

    def _refuse(self, scope: Scope) -> Response | None:
        if not scope["path"].startswith(_PREFIX):
            return None
        found = [value for name, value in scope["headers"] if name == _NAME]
        if len(found) == 1 and found[0] in self._neighbours:
            return None
        try:
            # Two of them are no offer, joined as they may be by whatever stands before the hub.
            node = b", ".join(found).decode("latin-1")
            require_neighbours(hub=self._ours, node=node)
        except (IncompatibleVersionError, MalformedMessageError) as error:
            return answer_error(error)
        if len(found) == 1 and len(self._neighbours) < _REMEMBERED:
            self._neighbours.add(found[0])
        return None
