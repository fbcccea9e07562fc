"""Standing around the hub's API: which operation, which role, which status, how long.

The outermost of the application. It reads the route that was matched, never the path, and the
partner's name only to look its role up.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from compliance.errors import ComplianceError
from compliance.office.office import Office
from compliance.operation.observing import UNOBSERVED, Observes, Request
from server.api.tls import EXTENSION

NO_ROLE = "none"
_FRESH_S = 60.0
RoleOf = Callable[[str], str]


class Observed:
    """An ASGI application with an observer around every request.

    Args:
        role_of: the role of a partner, by the name in its certificate.
    """

    def __init__(self, app: ASGIApp, observer: Observes, role_of: RoleOf) -> None:
        self._app = app
        self._observer = observer
        self._role_of = role_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        work = Request()

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                work.status = message["status"]
            await send(message)

        with self._observer.during(work):
            try:
                await self._app(scope, receive, told)
            finally:
                self._describe(work, scope)

    def _describe(self, work: Request, scope: Scope) -> None:
        route = scope.get("route")
        if route is not None:
            work.operation = str(getattr(route, "operation_id", None) or route.name)
            work.route = str(route.path)
        name = scope.get("extensions", {}).get(EXTENSION, {}).get("name")
        if isinstance(name, str):
            work.role = self._role_of(name)


class Roles:
    """The roles of parties in the agreement in force, looked up anew every minute."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._known: dict[str, str] = {}
        self._read_at = float("-inf")

    def __call__(self, name: str) -> str:
        """Return the role of a partner, `none` for who is no party."""
        if monotonic() - self._read_at > _FRESH_S:
            # Read by one and taken up whole: several at a time only do it twice.
            self._known, self._read_at = self._read(), monotonic()
        return self._known.get(name, NO_ROLE)

    def _read(self) -> dict[str, str]:
        try:
            agreement = self._office.agreement()
        except (ComplianceError, OSError):
            return {}
        return (
            {} if agreement is None else {item.name: str(item.role) for item in agreement.parties}
        )


def observed(app: ASGIApp, observer: Observes, role_of: RoleOf) -> ASGIApp:
    """Return the application with an observer around it; itself where nothing is observed."""
    return app if observer is UNOBSERVED else Observed(app, observer, role_of)
