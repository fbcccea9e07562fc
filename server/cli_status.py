"""`lianfang-hub status`: what the hub does at this moment, and which partners are there."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compliance.commands.output import Format, Formatted, say

if TYPE_CHECKING:
    from server.home import HubHome
    from server.standing.presence import Presence

_RUNS_SHOWN = 5


def status(
    directory: Annotated[Path, typer.Argument(help="The hub's directory.")],
    output: Formatted = Format.TEXT,
) -> None:
    """Show whether the hub is being served, which partners are there, the epoch and last runs."""
    from server.home import HubHome
    from server.lookups import epoch_in_force

    home = HubHome(directory)
    settings = home.settings()
    found = presence_of(home)
    epoch, runs = epoch_in_force(home), _runs(home)
    value = {
        "hub": settings.name,
        "served": found is not None,
        "partners": [asdict(presence) for presence in found or []],
        "joined": sorted(home.partners()),
        "epoch": epoch,
        "runs": runs,
    }
    lines = [
        f"{settings.name} is {'being served' if found is not None else 'not being served'} at "
        f"{settings.host}: link {settings.link_port}, API {settings.api_port}.",
        *presence_lines(found, sorted(home.partners())),
        f"Epoch {epoch} is in force." if epoch else "No epoch is in force.",
        *(f"Run {run['run']}: {run['state']}" for run in runs),
    ]
    following = "doctor" if found is not None else "serve"
    say(output, value, "\n".join(lines), f"lianfang-hub {following} {directory}")


def presence_of(home: HubHome) -> list[Presence] | None:
    """Return who is there; None where the hub is not being served."""
    from protocols.link import TransportError
    from server.standing.presence import fetch_presence

    try:
        return fetch_presence(home)
    except TransportError:
        return None


def presence_lines(found: list[Presence] | None, names: list[str]) -> list[str]:
    """Return one line for every partner that is named."""
    if found is None:
        return [f"{name}: cannot be seen, since the hub is not being served" for name in names]
    return [presence.text() for presence in found if presence.name in names]


def _runs(home: HubHome) -> list[dict[str, str]]:
    from server.training.plan import RunFolder

    folders = (home.root / "runs").glob("*/")
    newest = sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)[:_RUNS_SHOWN]
    found = []
    for path in newest:
        state = RunFolder(home.root, path.name).load_state()
        found.append({"run": path.name, "state": state["state"] if state else "proposed"})
    return found
