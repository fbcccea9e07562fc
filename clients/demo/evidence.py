"""The demonstration's end: the hub's log, cosigned by two partners, is taken out and verified.

The officers' commands do all of it, offline and with the partners' own keys: what the hub
says of itself is not believed.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from clients.demo.bringing_up import Town, at_each, run_command
from clients.output import CommandError

WITNESSES = ("police", "telecom")
_PUBLISHED_S = 60.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the officers found in the log."""

    log: str
    policy: str
    entries: int
    witnesses: list[str]
    disclosures: list[dict[str, Any]]
    replayed: dict[str, int]


def list_witnesses(town: Town) -> None:
    """Let two partners' compliance offices watch the hub's log, before it is served."""
    key = _status(town)["key"]

    def ready(name: str) -> list[str]:
        node = str(town.nodes[name])
        run_command("lianfang", "audit", "witness", "add-log", node, key)
        keys: list[str] = _json("lianfang", "audit", "witness", "key", node)["keys"]
        return keys

    for name, keys in at_each(WITNESSES, ready).items():
        run_command(
            "lianfang-hub", "log", "witness", "add", str(town.hub), name, *keys,
            "--reason", "setting up",
        )  # fmt: skip


def take_evidence(town: Town, folder: Path) -> Evidence:
    """Export the log and verify it; the hub must be served until all of it is cosigned.

    Raises:
        CommandError: it was not published in time, or does not hold.
    """
    _await_published(town)
    exported = _json("lianfang-hub", "log", "export", str(town.hub), str(folder))
    policy = exported["policy"]
    checked = _json("lianfang", "audit", "verify", str(folder), "--policy", policy)
    shown = _json("lianfang", "audit", "disclosures", str(folder))
    replayed = at_each(
        town.nodes, lambda name: _json("lianfang", "audit", "replay", str(town.nodes[name]))
    )
    return Evidence(
        log=str(folder),
        policy=policy,
        entries=checked["entries"],
        witnesses=list(WITNESSES),
        disclosures=shown["disclosures"],
        replayed={name: found["decided"] for name, found in replayed.items()},
    )


def draw_evidence(found: Evidence) -> str:
    """Draw what every officer can see."""
    table = Table(title="What every compliance officer can see and prove")
    for heading in ("from", "to", "what", "acts", "items"):
        table.add_column(heading)
    for row in found.disclosures:
        table.add_row(
            row["source"], row["recipient"], row["subject_matter"],
            str(row["acts"]), f"{row['items']:,}",
        )  # fmt: skip
    target = StringIO()
    console = Console(file=target, width=88)
    console.print(table)
    console.print(
        f"{found.entries} entries of the hub's log verified, cosigned by "
        f"{' and '.join(found.witnesses)}"
    )
    decided = ", ".join(f"{name} {count}" for name, count in found.replayed.items())
    console.print(f"Decisions of each partner's own log, all made again with one result: {decided}")
    return target.getvalue().rstrip()


def _await_published(town: Town) -> None:
    ends_at = time.monotonic() + _PUBLISHED_S
    while True:
        years = _status(town)["years"]
        if years and all(year["published"] == year["entries"] for year in years):
            return
        if time.monotonic() > ends_at:
            raise CommandError("the log is not cosigned in time; see lianfang-hub log status")
        time.sleep(0.5)


def _status(town: Town) -> dict[str, Any]:
    return _json("lianfang-hub", "log", "status", str(town.hub))


def _json(*command: str) -> dict[str, Any]:
    name, *arguments = command
    found: dict[str, Any] = json.loads(run_command(name, *arguments, "--format", "json"))
    return found
