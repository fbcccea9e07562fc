"""Showing a run's phases as they pass: one bar for the run, one line for every change."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from protocols.phase import PHASES


class Follower:
    """Draws on standard error; draws nothing when quiet."""

    def __init__(self, *, quiet: bool) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} phases"),
            TimeElapsedColumn(),
        )
        self._progress = Progress(*columns, console=Console(stderr=True), disable=quiet)
        self._task = self._progress.add_task("starting", total=len(PHASES))

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show(self, state: dict[str, Any]) -> None:
        """Show the state that the coordinator wrote last."""
        steps = state["steps"]
        ended = sum(1 for step in steps if step["ended"] is not None)
        current = steps[-1]["phase"] if steps else "starting"
        description = (
            f"{state['run']}: {current}"
            if state["state"] == "running"
            else f"{state['run']}: {state['state']}"
        )
        self._progress.update(
            self._task, completed=min(ended, len(PHASES)), description=description
        )
