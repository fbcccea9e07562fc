"""Long-lived programs of a demonstration: a hub, nodes, consoles, each with a log of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from clients.demo.bringing_up import Town
from clients.output import CommandError

_READY_S = 90.0
_STOP_S = 15.0


def start_town(town: Town, processes: ExitStack, logs: Path) -> None:
    """Start the hub, wait for its SuperLink, then start every node; they end with `processes`.

    Raises:
        CommandError: one did not start; names where its log is.
    """
    logs.mkdir(exist_ok=True)
    processes.enter_context(running(["server.cli", "serve", str(town.hub)], logs / "hub.log"))
    await_ready(logs, ["hub"])
    for name, node in town.nodes.items():
        command = ["clients.cli", "node", "start", str(node)]
        processes.enter_context(running(command, logs / f"{name}.log"))
    await_ready(logs, list(town.nodes))


def await_ready(logs: Path, waiting: Sequence[str], word: str = "Next:") -> None:
    """Wait until every program has said a word.

    Raises:
        CommandError: one did not in time; names where its log is.
    """
    ends_at = time.monotonic() + _READY_S
    while waiting:
        waiting = [name for name in waiting if word not in (logs / f"{name}.log").read_text()]
        if waiting and time.monotonic() > ends_at:
            raise CommandError(f"{waiting[0]} did not start in {_READY_S:g} s; see {logs}")
        time.sleep(0.1)


@contextmanager
def running(arguments: Sequence[str], log: Path) -> Iterator[None]:
    """Run one of our long-lived commands; it is stopped, politely first, at the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  our own module
            [sys.executable, "-m", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            yield
        finally:
            stop_process(process)


def stop_process(process: subprocess.Popen[bytes]) -> None:
    """Stop a program, politely first."""
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
