"""The screens of a demonstration, on its own hub, nodes and people, until somebody stops them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from clients.demo.bringing_up import ACTING, PASSWORD_FOLDER, Town, find_town
from clients.demo.lookups import FIRST_HOUR, KIND, LAST_HOUR, people_may_look, people_to_try
from clients.demo.processes import await_ready, running, start_town
from clients.demo.town_reports import REPORTS
from clients.output import CommandError

_DESK = "insurer"
_ADDRESS = re.compile(r"Open (https://\S+)")
_LIGHTS = {"confirmed": "red", "reported": "yellow", "victim": "yellow", "unreported": "green"}
NUMBERS = Path("truth", "try.csv")  # beside what else the simulation alone knows


@dataclass(frozen=True, slots=True)
class Screens:
    """Where the screens of a demonstration are, and who opens them.

    Args:
        addresses: by organisation.
        password: file with the password of `account`.
        numbers: file with made-up customers for every light; None where there is no town.
    """

    addresses: dict[str, str]
    account: str
    password: Path
    numbers: Path | None

    def text(self) -> str:
        """Say it to people."""
        lines = [f"{name:<10} {address}" for name, address in self.addresses.items()]
        lines += [f"account    {self.account}, password in {self.password}"]
        if self.numbers is not None:
            lines += [f"customers  {self.numbers}: one for every light"]
        if not people_may_look():
            lines += [
                f"The policies let people look from {FIRST_HOUR} to {LAST_HOUR} o'clock in Taipei; "
                "it is not. `lianfang staff emergency` opens the desk meanwhile."
            ]
        return "\n".join(lines)


@contextmanager
def serve_demo(directory: Path, *, port: int) -> Iterator[Screens]:
    """Start what a demonstration left behind, with the screens of its organisations.

    Args:
        port: of the first screens, the others follow; 0 takes free ones.

    Raises:
        CommandError: there is no demonstration, or something did not start.
    """
    town, logs = find_town(directory), directory / "logs"
    numbers = _numbers(directory, town)
    commands = {
        **{
            name: ["clients.cli", "node", "console", str(node)] for name, node in town.nodes.items()
        },
        "hub": ["server.cli", "console", str(town.hub)],
    }
    with ExitStack() as processes:
        start_town(town, processes, logs)
        for at, (name, command) in enumerate(commands.items()):
            own = ["--demo", "--port", str(port + at if port else 0)]
            log = logs / f"console-{name}.log"
            processes.enter_context(running([*command, *own], log))
        await_ready(logs, [f"console-{name}" for name in commands], "ready;")
        addresses = {name: _address(logs / f"console-{name}.log") for name in commands}
        yield Screens(addresses, ACTING, directory / PASSWORD_FOLDER / ACTING, numbers)


def _address(log: Path) -> str:
    found = _ADDRESS.search(log.read_text())
    if found is None:
        raise CommandError(f"{log}: no address; look into it")
    return found[1]


def _numbers(directory: Path, town: Town) -> Path | None:
    """Write a made-up customer for every light into a file, where the data are of a town."""
    folder = directory / "town"
    police, telecom = (folder / name / REPORTS for name in ("police", "telecom"))
    if _DESK not in town.nodes or not (police.exists() and telecom.exists()):
        return None
    path = folder / NUMBERS
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["light", "what", "kind", "value"])
        for what, value in people_to_try(folder, police, telecom).items():
            writer.writerow([_LIGHTS[what], what, KIND, value])
    return path
