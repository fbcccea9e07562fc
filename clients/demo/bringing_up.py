"""Bringing up a hub and its partners on one machine, by the commands that operators use."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from clients.output import CommandError

_MODULES = {"lianfang": "clients.cli", "lianfang-hub": "server.cli"}


@dataclass(slots=True)
class Town:
    """One hub and its partners, all on this machine."""

    hub: Path
    nodes: dict[str, Path] = field(default_factory=dict)
    tables: dict[str, Path] = field(default_factory=dict)
    identities: dict[str, str] = field(default_factory=dict)

    def introduce(self) -> None:
        """Let every partner pin every other partner's identity key."""
        for name, node in self.nodes.items():
            for other, identity in self.identities.items():
                if other != name:
                    run_command("lianfang", "node", "trust", str(node), other, identity)


def make_hub(root: Path) -> Town:
    """Make a hub on free ports of the loopback."""
    hub = root / "hub"
    free = ("--link-port", "0", "--fleet-port", "0", "--api-port", "0")
    run_command("lianfang-hub", "init", str(hub), *free)
    return Town(hub)


def join_partner(
    town: Town, name: str, *, table: Path, contract: Path, held_out_column: str | None = None
) -> None:
    """Make a partner's node and bring it to the hub, as two operators would."""
    node = town.hub.parent / name
    extra = () if held_out_column is None else ("--held-out-column", held_out_column)
    run_command(
        "lianfang",
        "node",
        "init",
        str(node),
        "--name",
        name,
        "--table",
        str(table),
        "--contract",
        str(contract),
        *extra,
    )
    request = node / f"{name}-request.json"
    welcome = node / "welcome.json"
    run_command("lianfang-hub", "approve", str(town.hub), str(request), "--out", str(welcome))
    run_command("lianfang", "node", "join", str(node), str(welcome))
    town.nodes[name] = node
    town.tables[name] = table
    town.identities[name] = json.loads(request.read_text())["identity"]


def run_command(name: str, *arguments: str, said: str = "") -> str:
    """Run one of our commands and return what it wrote.

    Args:
        said: what it is told on standard input.

    Raises:
        CommandError: it failed; the text is what it said.
    """
    done = subprocess.run(  # noqa: S603  our own module
        [sys.executable, "-m", _MODULES[name], *arguments],
        input=said,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CommandError(f"{name} {arguments[0]}: {done.stderr.strip()}")
    return done.stdout
