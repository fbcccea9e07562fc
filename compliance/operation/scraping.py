"""Where a process's metrics are read: GET /metrics on an address of this machine.

One reader at a time, in one thread: however often it is asked, the process's own work loses
no more than that thread's share. Nothing else is served, and nothing is logged.

Source:
    Prometheus text format 0.0.4, and OpenMetrics 1.0 for whoever asks for it.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from compliance.operation.settings import parse_address
from protocols.link import TransportError

PATH = "/metrics"
_TIMEOUT_S = 5.0

_Start = Callable[..., Any]


class MetricsServer:
    """Serves one registry from `start` to `stop`.

    Args:
        address: see `compliance.operation.settings.parse_address`.
    """

    def __init__(self, registry: CollectorRegistry, address: str) -> None:
        self._host, self._port = parse_address(address)
        self._app = make_wsgi_app(registry, disable_compression=True)
        self._server: WSGIServer | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> int:
        """Listen and return the port.

        Raises:
            TransportError: the address is taken.
        """
        try:
            self._server = _server_of(self._host)((self._host, self._port), _Handler)
        except OSError as error:
            raise TransportError(
                f"metrics: cannot listen at {self._host}:{self._port}", retryable=True
            ) from error
        self._server.set_app(self._serve)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True
        )
        self._thread.start()
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Stop listening and end the thread."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _serve(self, environ: dict[str, Any], start_response: _Start) -> Iterable[bytes]:
        if environ["PATH_INFO"] != PATH:
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"metrics are at /metrics\n"]
        found: Iterable[bytes] = self._app(environ, start_response)
        return found


class _Server(WSGIServer):
    def server_bind(self) -> None:
        """Bind without asking the name service who we are."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "localhost", self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        """Let a reader that hangs up or says nothing go."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = _TIMEOUT_S

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
        """Log nothing: a reader comes every few seconds."""


def _server_of(host: str) -> type[_Server]:
    return _Server6 if ":" in host else _Server
