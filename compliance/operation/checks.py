"""What a `doctor` looks at of how a process is watched, alike at the hub and at a node."""

from __future__ import annotations

import http.client
import importlib.util
import os
import socket
from pathlib import Path

from compliance.checkup import Check
from compliance.operation.settings import FORMAT_VARIABLE, LogFormat, load_operation, parse_address

_TIMEOUT_S = 1.0
_MOST_BYTES = 4 << 20


def operation_checks(path: Path, prefix: str) -> list[Check]:
    """Return the checks of what hub.json or node.json says about metrics, spans and logs.

    Args:
        prefix: of our metrics' names, by which a port that is taken is known to be our own.
    """
    return [
        (
            "the metrics port is free or served by this process",
            lambda: _is_free_or_ours(load_operation(path).metrics, prefix),
            f"stop the other program, or change metrics in {path.name}",
        ),
        (
            "what spans need is installed, or none are sent",
            lambda: not load_operation(path).otel or has_tracing(),
            f"install lianfang[otel], or empty otel in {path.name}",
        ),
        (
            "the log format is one that there is",
            is_format_valid,
            f"set {FORMAT_VARIABLE} to {' or '.join(LogFormat)}, or unset it",
        ),
    ]


def is_format_valid() -> bool:
    """Report whether the environment asks for a log format that there is, or for none."""
    return os.environ.get(FORMAT_VARIABLE, LogFormat.TEXT) in set(LogFormat)


def has_tracing() -> bool:
    """Report whether the optional libraries for spans are installed; nothing is imported."""
    try:
        names = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
        return all(importlib.util.find_spec(name) is not None for name in names)
    except ModuleNotFoundError:
        return False


def _is_free_or_ours(address: str, prefix: str) -> bool:
    if not address:
        return True
    host, port = parse_address(address)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return _tells(host, port, prefix)
    return True


def _tells(host: str, port: int, prefix: str) -> bool:
    """Report whether metrics of this prefix are served there."""
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/metrics")
        return f"\n{prefix}_".encode() in connection.getresponse().read(_MOST_BYTES)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
