"""The two doors of the SuperLink.

Stock Flower serves everything on one port and asks nobody who it is: whoever reaches the
port may start a run or take the coordinator's own task. Here one process listens twice:

    fleet door   for the partners' SuperNodes; answers `/v1/fleet/` and `/health` only,
                 where every call is signed with a registered key
    inner door   on loopback; the ServerApp's runtime calls, and the control calls of
                 whoever can read the hub's control token

The doors are told apart by the port on which a request arrived, which no request can forge.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = "127.0.0.1"
CONTROL = "/v1/control/"
FLEET = "/v1/fleet/"
RUNTIME = "/v1/runtime/"
HEALTH = "/health"


@dataclass(frozen=True, slots=True)
class GateSettings:
    """What the SuperLink process needs to know; paths are absolute.

    Args:
        host, fleet_port: where partners reach the fleet door.
        inner_port: the loopback port of the inner door.
        token_file: holds the secret that control calls must carry.
        state_file: the SuperLink's SQLite database.
    """

    host: str
    fleet_port: int
    inner_port: int
    ca_certificate: str
    certificate: str
    private_key: str
    token_file: str
    state_file: str

    def store(self, path: Path) -> None:
        """Write the settings for the process to read."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> GateSettings:
        """Read settings that `store` wrote."""
        return cls(**json.loads(path.read_text()))


class Gate:
    """Let a request through only at the door where it belongs.

    Args:
        application: the SuperLink, as an ASGI application.
        token: the control token; held by the hub alone.
    """

    def __init__(self, application: Application, *, inner_port: int, token: str) -> None:
        self._application = application
        self._inner_port = inner_port
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event (ASGI)."""
        # Without websockets (see `serve`) the only other type is the lifespan's.
        if scope["type"] != "http" or self._passes(scope):
            await self._application(scope, receive, send)
            return
        # The same bare answer for a wrong door and a wrong token: no oracle.
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def _passes(self, scope: Scope) -> bool:
        path: str = scope["path"]
        if path == HEALTH:
            return True
        if scope["server"][1] != self._inner_port:
            return path.startswith(FLEET)
        if path.startswith(CONTROL):
            return any(
                name == b"authorization" and hmac.compare_digest(value, self._expected)
                for name, value in scope["headers"]
            )
        return path.startswith(RUNTIME)
