"""Bringing up a hub, its key holders and an epoch for measuring lookups.

Hub and holders are processes of their own, started by the commands that operators use. One
of the three holders is stopped before anything is measured: the hub and one further holder
answer, as few as the threshold allows.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clients.bench.backend import Library, command
from clients.demo.agreeing import agree_all
from clients.demo.bringing_up import Bringing, Town, join_partners, make_hub, run_command
from clients.demo.processes import stop_process
from clients.holder.home import HolderHome
from clients.node.files import load_json, store_json
from clients.node.home import Home
from clients.output import CommandError
from protocols.vertical.contract import Contract, Numeric

ASKER, CONTRIBUTOR, SPARE = "insurer", "police", "telecom"
_HOLDERS = (CONTRIBUTOR, SPARE)
_PURPOSES = {ASKER: "counter,screening", CONTRIBUTOR: "publish", SPARE: "alignment"}
_START_TIMEOUT_S = 60.0
_LOOK_EVERY_S = 0.1


@dataclass(slots=True)
class LookupTown:
    """A hub that is being served, with an epoch in force."""

    town: Town
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def asker(self) -> Path:
        """The directory of the insurer, who looks up."""
        return self.town.nodes[ASKER]

    @property
    def contributor(self) -> Path:
        """The directory of the police, who publishes and holds a share."""
        return self.town.nodes[CONTRIBUTOR]

    @property
    def pids(self) -> dict[str, int]:
        """The processes that answer, by role."""
        return {
            "hub": self.processes["hub"].pid,
            "holder": self.processes[CONTRIBUTOR].pid,
        }

    @property
    def port(self) -> int:
        """The port of the hub's API."""
        return int(Home(self.asker).config().api.rpartition(":")[2])

    def used(self) -> dict[str, dict[str, int]]:
        """Return how many evaluations each holder has charged, by asker."""
        shown = run_command("lianfang-hub", "epoch", "status", str(self.town.hub), *_AS_JSON)
        found = {"hub": _used(json.loads(shown))}
        for name in _HOLDERS:
            shown = run_command(
                "lianfang", "holder", "status", str(self.town.nodes[name]), *_AS_JSON
            )
            found[name] = _used(json.loads(shown))
        return found


_AS_JSON = ("--format", "json")


def _used(status: Mapping[str, Any]) -> dict[str, int]:
    (epoch,) = status["epochs"]
    return {name: asker["used"] for name, asker in epoch["askers"].items()}


@contextmanager
def lookup_town(
    root: Path, *, asked: int, published: int, library: Library = Library.CHOSEN
) -> Iterator[LookupTown]:
    """Bring up a town; everything is stopped at the end of the block.

    Args:
        asked, published: the quotas of the insurer and of the police.
    """
    quotas = {ASKER: max(asked, 1), CONTRIBUTOR: max(published, 1), SPARE: 1}
    place = LookupTown(_joined(root, max(quotas.values())))
    # Whoever stops the bench stops what it started.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        _serve(place, library)
        for name in _HOLDERS:
            _hold(place, name, max(quotas.values()), library)
        _begin_epoch(place.town, quotas)
        stop_process(place.processes.pop(SPARE))
        yield place
    finally:
        for process in place.processes.values():
            stop_process(process)
        signal.signal(signal.SIGTERM, before)


def _joined(root: Path, quota: int) -> Town:
    """Bring the partners to a hub and agree on a quota that covers what is measured."""
    town = make_hub(root)
    contract = Contract((Numeric("nothing", 0.0, 1.0),))
    bringing = {}
    for name in _PURPOSES:
        path = root / f"{name}.json"
        path.write_text(json.dumps(contract.format()))
        # Lookups read no table: none is there.
        bringing[name] = Bringing(root / f"{name}.parquet", path)
    join_partners(town, bringing)
    agree_all(town, ASKER, {"quota": quota})
    return town


def _serve(place: LookupTown, library: Library) -> None:
    line = command(library, "server.cli", "serve", str(place.town.hub), "--no-flower")
    log = place.town.hub / "serve.log"
    _start(place, "hub", line, log, lambda: b"ready" in log.read_bytes())


def _hold(place: LookupTown, name: str, quota: int, library: Library) -> None:
    """Start a holder whose policy allows quotas as large as the bench needs."""
    node = place.town.nodes[name]
    home = HolderHome(Home(node))
    home.policy()
    policy = home.root / "policy.json"
    store_json(policy, load_json(policy) | {"max_quota": quota})

    def is_connected() -> bool:
        noted = home.noted()
        return noted is not None and bool(noted["connected"])

    line = command(library, "clients.cli", "holder", "start", str(node))
    _start(place, name, line, home.root / "holder.log", is_connected)


def _begin_epoch(town: Town, quotas: Mapping[str, int]) -> None:
    arguments = [f"--quota={name}={quota}" for name, quota in quotas.items()]
    arguments += [f"--purposes={name}={purposes}" for name, purposes in _PURPOSES.items()]
    run_command("lianfang-hub", "epoch", "begin", str(town.hub), *arguments)


def _start(
    place: LookupTown, role: str, line: list[str], log: Path, is_ready: Callable[[], bool]
) -> None:
    with log.open("wb") as out:
        # Threads that wait by spinning would be measured as work.
        environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
        process = subprocess.Popen(line, stdout=out, stderr=out, env=environment)  # noqa: S603  our own module
    place.processes[role] = process
    ends_at = time.monotonic() + _START_TIMEOUT_S
    while not is_ready():
        if process.poll() is not None or time.monotonic() > ends_at:
            said = log.read_text(errors="replace").splitlines()
            raise CommandError(f"{role} did not start: {said[-1] if said else 'it said nothing'}")
        time.sleep(_LOOK_EVERY_S)
