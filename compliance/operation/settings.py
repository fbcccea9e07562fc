"""How a process is watched: form of its log, where its metrics are read, where spans go.

    metrics   ADDRESS:PORT on this machine, such as 127.0.0.1:9446; empty for none
    otel      URL of an OpenTelemetry collector (OTLP over HTTP); empty for none

Both stand in hub.json or node.json. Metrics name organisations and nobody else, but whoever
reads them sees how much a partner asks: they are served on the machine itself only, to a
collector that runs there. This module is imported by commands and imports nothing heavy.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from compliance.configuration import ConfigError, read_object

FORMAT_VARIABLE = "LIANFANG_LOG_FORMAT"
FIELDS = frozenset({"metrics", "otel"})
_MAX_PORT = 65_535


class LogFormat(StrEnum):
    """How log lines are written to standard error."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class OperationSettings:
    """Where a process is watched from; `Raises` of the constructor as of its two checks."""

    metrics: str = ""
    otel: str = ""

    def __post_init__(self) -> None:
        if self.metrics:
            parse_address(self.metrics)
        if self.otel:
            check_collector(self.otel)

    @classmethod
    def parse(cls, value: dict[str, Any], where: str) -> OperationSettings:
        """Take the two fields out of a settings file's object, in which both may be missing.

        Raises:
            ConfigError: one is no text, or not what it should be; names field and cure.
        """
        found = {name: value.get(name, "") for name in sorted(FIELDS)}
        for name, text in found.items():
            if not isinstance(text, str):
                raise ConfigError(f"{where}: {name} must be of type text; correct it")
        try:
            return cls(**found)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error


def load_operation(path: Path) -> OperationSettings:
    """Read the two fields of hub.json or node.json; the others are not looked at.

    Raises:
        ConfigError: there is no such file, or a field is wrong.
    """
    return OperationSettings.parse(read_object(path), path.name)


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of an address on this machine; port 0 is any free one.

    Raises:
        ConfigError: it is none, or others could reach it.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not port.isascii() or not port.isdecimal() or int(port) > _MAX_PORT:
        raise ConfigError("metrics: must be ADDRESS:PORT, such as 127.0.0.1:9446; correct it")
    if not _is_local(host):
        raise ConfigError(
            "metrics: the address must be of this machine alone, such as 127.0.0.1; let a "
            "collector on this machine read it"
        )
    return host, int(port)


def check_collector(url: str) -> str:
    """Return the URL of a collector that spans may be sent to.

    Raises:
        ConfigError: it is none, or anyone on the way could read what is sent.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - a port that is no number is told here
    except ValueError as error:
        raise ConfigError("otel: the URL cannot be read; correct it") from error
    if not parts.hostname or parts.query or parts.fragment or parts.username is not None:
        raise ConfigError("otel: must be https://HOST[:PORT][/PREFIX]; correct it")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_local(parts.hostname)):
        raise ConfigError("otel: must be https, or http on this machine; correct it")
    return url


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
