"""Starting runs on a SuperLink and telling how they stand; by any process of the operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from protocols.bundle import build_bundle
from server.training.control import ControlClient
from server.training.plan import RunFolder, RunPlan


def begin(control: ControlClient, home: Path, plan: RunPlan) -> int:
    """Start a run of our bundle by this plan; return Flower's run id."""
    folder = RunFolder(home, plan.run)
    folder.store_plan(plan)
    run_id = control.start_run(build_bundle(), {"run": plan.run})
    folder.store_flower_run(run_id)
    return run_id


def has_ended(control: ControlClient, home: Path, run: str) -> bool:
    """Whether Flower's run of this name is over, however it went."""
    run_id = RunFolder(home, run).load_flower_run()
    return run_id is not None and control.run_status(run_id).status == "finished"


def state_of(control: ControlClient, home: Path, run: str) -> dict[str, Any]:
    """Return a run's state as the coordinator recorded it (see `coordinator.RunState`).

    A coordinator that was killed cannot record its own end: the run is then reported as
    failed, as soon as Flower knows.
    """
    folder = RunFolder(home, run)
    ended = has_ended(control, home, run)
    # Read after the status: the coordinator's last words come before its end.
    state = folder.load_state() or {"run": run, "state": "pending", "steps": [], "trouble": []}
    if not ended or state["state"] not in {"pending", "running"}:
        return state
    phase = state["steps"][-1]["phase"] if state["steps"] else "plan"
    trouble = {
        "party": "hub",
        "phase": phase,
        "code": "coordinator_lost",
        "reason": "the hub's coordinator ended before the run did; start the run again",
    }
    return state | {"state": "failed", "trouble": [*state["trouble"], trouble]}
