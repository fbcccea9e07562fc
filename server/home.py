"""The hub's directory: its name and addresses, its authority, its partners, its runs.

hub.json              name, host, ports
authority/            ca.crt, ca.key, server.pem, server.key, hub.pem, hub.key
partners/<name>.json  what a partner handed in to join: keys and feature contract
runs/<run>/           plan.json, proposed.json, training.json, state.json, record.json
flower/               the SuperLink's own
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from protocols.errors import UnsupportedParameterError
from protocols.link import check_party
from server.identity.authority import (
    create_authority,
    issue_control,
    issue_node,
    issue_server,
    load_authority,
)
from server.identity.files import write_atomically

_REQUEST_FIELDS = {"name", "tls_request", "identity", "flower_public", "contract"}


class ConfigError(Exception):
    """The hub's directory or an operator's input is wrong; names the field and the cure."""

    code: ClassVar[str] = "config_error"


@dataclass(frozen=True, slots=True)
class Settings:
    """The contents of hub.json."""

    name: str
    host: str
    link_port: int
    fleet_port: int


@dataclass(frozen=True, slots=True)
class HubHome:
    """One hub's directory."""

    root: Path

    @property
    def authority(self) -> Path:
        """Return the directory of the authority and of the hub's own certificates."""
        return self.root / "authority"

    def settings(self) -> Settings:
        """Read hub.json.

        Raises:
            ConfigError: there is none, or it does not hold together.
        """
        try:
            return Settings(**json.loads((self.root / "hub.json").read_text()))
        except FileNotFoundError as error:
            raise ConfigError("hub.json: not found; run `lianfang-hub init` first") from error
        except (ValueError, TypeError) as error:
            raise ConfigError("hub.json: a field is missing or unknown; correct it") from error

    def create(
        self, *, name: str, host: str, link_port: int, fleet_port: int, now: int
    ) -> Settings:
        """Make a new hub; an existing one is never replaced.

        Args:
            link_port, fleet_port: 0 takes a free one.

        Raises:
            ConfigError: the directory holds a hub already.
        """
        if (self.root / "hub.json").exists():
            raise ConfigError("hub.json: exists already; choose another directory")
        settings = Settings(
            name, host, link_port or _free_port(host), fleet_port or _free_port(host)
        )
        self.authority.mkdir(mode=0o700, parents=True, exist_ok=True)
        authority = create_authority(self.authority, name, now)
        issue_server(authority, self.authority, sorted({host, "127.0.0.1", "localhost"}), now)
        issue_control(authority, self.authority, now)
        write_atomically(self.root / "hub.json", json.dumps(asdict(settings), indent=1).encode())
        return settings

    def approve(self, request: dict[str, Any], now: int) -> dict[str, Any]:
        """Take a partner in and return its welcome: certificate, authority, addresses.

        Raises:
            ConfigError: the request is not one, or the name is taken by another key.
        """
        if set(request) != _REQUEST_FIELDS:
            raise ConfigError(f"join request: needs exactly {', '.join(sorted(_REQUEST_FIELDS))}")
        name = request["name"]
        check_party(name)
        known = self.partners().get(name)
        if known is not None and known["identity"] != request["identity"]:
            raise ConfigError(f"join request: {name} is taken by another key; choose another name")
        certificate = issue_node(
            load_authority(self.authority), request["tls_request"].encode(), name, now
        )
        kept = {key: request[key] for key in sorted(_REQUEST_FIELDS - {"tls_request"})}
        (self.root / "partners").mkdir(exist_ok=True)
        write_atomically(
            self.root / "partners" / f"{name}.json", json.dumps(kept, indent=1).encode()
        )
        settings = self.settings()
        return {
            "hub": settings.name,
            "link": f"{settings.host}:{settings.link_port}",
            "flower": f"{settings.host}:{settings.fleet_port}",
            "certificate": certificate.decode(),
            "authority": (self.authority / "ca.crt").read_text(),
        }

    def partners(self) -> dict[str, dict[str, Any]]:
        """Return what every partner handed in, by name."""
        return {path.stem: json.loads(path.read_text()) for path in self._partner_files()}

    def partner(self, name: str) -> dict[str, Any]:
        """Return one partner.

        Raises:
            UnsupportedParameterError: nobody of this name has joined.
        """
        partners = self.partners()
        if name not in partners:
            raise UnsupportedParameterError(
                f"{name[:32]}: no such partner; approve its join request first"
            )
        return partners[name]

    def _partner_files(self) -> Iterator[Path]:
        return iter(sorted((self.root / "partners").glob("*.json")))


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def unix_now() -> int:
    """Return Unix seconds; the one place of the hub's commands that reads the clock."""
    return int(time.time())
