"""Bringing up a hub and its partners on one machine, by the commands that operators use.

Every organisation has the same two people, who sign and act: what needs a second person has
one at hand. Their passwords lie in a folder of the town, for these commands alone; in life each
person has one account at one organisation, and types.

    TOWN/hub, TOWN/<partner>   as in production
    TOWN/passwords/<account>   a password, readable by its owner
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from clients.output import CommandError
from compliance.commands.acting import AS, PASSWORDS, SECOND

_MODULES = {"lianfang": "clients.cli", "lianfang-hub": "server.cli"}
ACTING, AGREEING = "lin", "chen"
_STAFF = {
    ACTING: ("desk", "analyst", "operator", "approver"),
    AGREEING: ("approver", "compliance"),
}
PASSWORD_FOLDER = "passwords"  # noqa: S105  the name of a folder
MARK = "demo.json"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bringing:
    """What a partner brings to a run: its table, its contract, and what marks held-out rows."""

    table: Path
    contract: Path
    held_out_column: str | None = None


@dataclass(slots=True)
class Town:
    """One hub and its partners, all on this machine."""

    hub: Path
    nodes: dict[str, Path] = field(default_factory=dict)
    tables: dict[str, Path] = field(default_factory=dict)
    identities: dict[str, str] = field(default_factory=dict)

    def introduce(self) -> None:
        """Let every partner pin every other partner's identity key."""

        def pin(name: str) -> None:
            for other, identity in self.identities.items():
                if other != name:
                    node = str(self.nodes[name])
                    run_command("lianfang", "node", "trust", node, other, identity)

        at_each(self.nodes, pin)


def at_each(names: Iterable[str], act: Callable[[str], T]) -> dict[str, T]:
    """Do the same at several organisations at once, as their operators would."""
    wanted = list(names)
    with ThreadPoolExecutor(len(wanted)) as pool:
        return dict(zip(wanted, pool.map(act, wanted), strict=True))


def find_town(directory: Path) -> Town:
    """Return the organisations of a demonstration that was made before.

    Raises:
        CommandError: there is none, or it did not come to its end.
    """
    hub = directory / "hub"
    nodes = {path.parent.name: path.parent for path in sorted(directory.glob("*/node.json"))}
    if not (directory / MARK).exists() or not (hub / "hub.json").exists() or not nodes:
        raise CommandError(f"{directory}: no demonstration; make one with `lianfang demo` first")
    return Town(hub, nodes)


def make_hub(root: Path) -> Town:
    """Make a hub on free ports of the loopback."""
    hub = root / "hub"
    free = ("--link-port", "0", "--fleet-port", "0", "--api-port", "0")
    run_command("lianfang-hub", "init", str(hub), *free)
    _add_staff("lianfang-hub", hub)
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
    _add_staff("lianfang", node)
    request = node / f"{name}-request.json"
    welcome = node / "welcome.json"
    run_command("lianfang-hub", "approve", str(town.hub), str(request), "--out", str(welcome))
    run_command("lianfang", "node", "join", str(node), str(welcome))
    town.nodes[name] = node
    town.tables[name] = table
    town.identities[name] = json.loads(request.read_text())["identity"]


def join_partners(town: Town, bringing: Mapping[str, Bringing]) -> None:
    """Bring several partners to the hub at once, each by its own operators, and let them trust.

    They stand in the town in the order of `bringing`, whoever came first.
    """
    for name in bringing:
        town.nodes[name] = town.hub.parent / name
        town.tables[name] = bringing[name].table

    def join(name: str) -> None:
        own = bringing[name]
        join_partner(
            town, name, table=own.table, contract=own.contract, held_out_column=own.held_out_column
        )

    at_each(bringing, join)
    town.introduce()


def run_command(name: str, *arguments: str, said: str = "", unattended: bool = False) -> str:
    """Run one of our commands as the town's people, and return what it wrote.

    Args:
        said: what it is told on standard input.
        unattended: as a program runs it, with nobody at hand.

    Raises:
        CommandError: it failed; the text is what it said.
    """
    done = subprocess.run(  # noqa: S603  our own module
        [sys.executable, "-m", _MODULES[name], *arguments],
        input=said,
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ) if unattended else _people_of(arguments) | dict(os.environ),
    )
    if done.returncode != 0:
        raise CommandError(f"{name} {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


def _people_of(arguments: Sequence[str]) -> dict[str, str]:
    """Return who acts at a command, by the town in which the directory lies that it names."""
    for argument in arguments:
        folder = Path(argument).parent / PASSWORD_FOLDER
        if "/" in argument and Path(argument).is_dir() and folder.is_dir():
            return {AS: ACTING, SECOND: AGREEING, PASSWORDS: str(folder)}
    return {}


def _add_staff(name: str, directory: Path) -> None:
    """Add the two accounts with which an organisation begins."""
    folder = directory.parent / PASSWORD_FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    for account, roles in _STAFF.items():
        file = folder / account
        _keep_password(file)
        run_command(
            name, "staff", "add", str(directory), account, "--display", account.capitalize(),
            "--reason", "setting up", "--password-file", str(file),
            *(text for role in roles for text in ("--role", role)),
            unattended=True,
        )  # fmt: skip


def _keep_password(file: Path) -> None:
    """Draw a password, unless there is one already."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w") as target:
        target.write(secrets.token_urlsafe(24))
