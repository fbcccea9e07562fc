"""The ServerApp that Flower starts at the hub for a run: reads the plan, drives the phases.

The run configuration, which partners can read, holds the run's name and nothing else. The
plan lies in the hub's own directory, named to this process by its environment.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from protocols.errors import UnsupportedParameterError
from protocols.link import TransportError
from protocols.phase import PHASES
from server.home import HubHome
from server.link.control import call_control
from server.log.opening import open_log
from server.training.conduct import Training
from server.training.coordinator import Conduct, Coordinator, RunState, State
from server.training.flower import FlowerGrid
from server.training.plan import RunFolder, RunPlan
from server.training.revoked import revoked_at
from server.training.superlink import HUB_HOME

app = ServerApp()
CONTROL_TIMEOUT_S = 60.0

ConductFactory = Callable[[Path, RunPlan], Conduct]


class Check:
    """The hub's part in a check of the connection: empty phases, nothing passed on."""

    def __init__(self, home: Path, plan: RunPlan) -> None:
        del home, plan  # a check keeps nothing

    def before(self, phase: str, nodes: Sequence[str]) -> Mapping[str, str]:
        """Give every partner an empty body."""
        del phase
        return dict.fromkeys(nodes, "{}")

    def after(self, phase: str, bodies: Mapping[str, str]) -> None:
        """Take the replies as they are."""

    def close(self, outcome: str) -> None:
        """Leave nothing behind."""


def training(home: Path, plan: RunPlan) -> Conduct:
    """Conduct a training run; the hub's own programs run in the hub process, asked over gRPC.

    The audit log is opened here beside the hub process, and stays open to this one's end.
    """
    log = open_log(HubHome(home))
    return Training(home, plan, partial(ask_hub, home), journal=log.journal)


def ask_hub(home: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Ask the hub process, which holds the relay."""
    hub = HubHome(home)
    settings = hub.settings()
    return call_control(
        f"{settings.host}:{settings.link_port}",
        request,
        authority=hub.authority / "ca.crt",
        certificate=hub.authority / "hub.pem",
        key=hub.authority / "hub.key",
        timeout_s=CONTROL_TIMEOUT_S,
    )


def breaker(home: Path, plan: RunPlan) -> Callable[[str, int, str], None]:
    """Return the act of ending a phase on the relay, for runs that use it."""

    def break_phase(phase: str, attempt: int, party: str) -> None:
        if plan.kind != "training" or phase == PHASES[0]:
            return
        request = {"action": "break_phase", "run": plan.run, "phase": phase}
        # Without it the others wait until their deadline, no worse.
        with suppress(TransportError):
            ask_hub(home, request | {"attempt": attempt, "party": party})

    return break_phase


CONDUCTS: dict[str, ConductFactory] = {"check": Check, "training": training}


@app.main()  # type: ignore[untyped-decorator, unused-ignore]  # flwr is untyped here
def main(grid: Grid, context: Context) -> None:
    """Run one plan to its end; the outcome is in the run's state file."""
    home = Path(os.environ[HUB_HOME])
    folder = RunFolder(home, str(context.run_config["run"]))
    plan = folder.load_plan()

    def record(state: RunState) -> None:
        folder.store_state(asdict(state) | {"flower_run": context.run_id, "kind": plan.kind})

    is_revoked = revoked_at(home)
    coordinator = Coordinator(
        plan,
        FlowerGrid(grid, plan.run, on_loss=breaker(home, plan), is_revoked=is_revoked),
        conduct_for(home, plan),
        record=record,
        clock=lambda: int(time.time()),
        is_revoked=is_revoked,
    )
    state = coordinator.run()
    if state.state is State.FAILED:
        # Flower's own view of the run should not say that all went well.
        raise RuntimeError("the run failed; see the run's state file")


def conduct_for(home: Path, plan: RunPlan) -> Conduct:
    """Return the hub's part in this kind of run.

    Raises:
        UnsupportedParameterError: if the hub knows no such kind.
    """
    if plan.kind not in CONDUCTS:
        raise UnsupportedParameterError(f"plan: kind must be one of {', '.join(CONDUCTS)}")
    return CONDUCTS[plan.kind](home, plan)
