"""Flower's SuperExec, which asks our fork server to start the launchers.

Flower's subprocess executor starts a program and forgets it, and its loop asks for the next
task without a pause that depends on whether there are any. Only those modules' views of
`subprocess` and of the clock are replaced; the dependency is pinned to one minor version.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from clients.node.forkserver import ForkServer
from clients.node.pace import Pace

END_OF_LAUNCHER = "--"
BUSY_S = 0.05
IDLE_S = 0.5

_LOOP = "flwr.supercore.superexec.run_superexec"
_EXECUTOR = "flwr.supercore.superexec.executor.subprocess_executor"


def main() -> None:
    """Run SuperExec: `superexec_process LAUNCHER... -- FLOWER'S ARGUMENTS`."""
    end = sys.argv.index(END_OF_LAUNCHER)
    launcher, sys.argv[1:] = sys.argv[1:end], sys.argv[end + 1 :]
    server = ForkServer(launcher)
    server.start()
    # Flower is loaded after the fork: it starts threads and opens connections.
    pace = Pace(BUSY_S, IDLE_S)

    def popen(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes] | None:
        pace.note()
        return server.popen(command, **options)

    executor = importlib.import_module(_EXECUTOR)
    executor.__dict__["subprocess"] = SimpleNamespace(Popen=popen, DEVNULL=subprocess.DEVNULL)
    loop = importlib.import_module(_LOOP)
    loop.__dict__["time"] = SimpleNamespace(sleep=pace.wait)
    importlib.import_module("flwr.supercore.cli").flower_superexec()


if __name__ == "__main__":
    main()
