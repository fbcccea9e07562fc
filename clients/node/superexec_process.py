"""Flower's SuperExec, which asks our fork server to start the launchers.

Flower's subprocess executor starts a program and forgets it. Only that module's view of
`subprocess` is replaced; the dependency is pinned to one minor version.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from types import SimpleNamespace

from clients.node.forkserver import ForkServer

END_OF_LAUNCHER = "--"

_EXECUTOR = "flwr.supercore.superexec.executor.subprocess_executor"


def main() -> None:
    """Run SuperExec: `superexec_process LAUNCHER... -- FLOWER'S ARGUMENTS`."""
    end = sys.argv.index(END_OF_LAUNCHER)
    launcher, sys.argv[1:] = sys.argv[1:end], sys.argv[end + 1 :]
    server = ForkServer(launcher)
    server.start()
    # Flower is loaded after the fork: it starts threads and opens connections.
    executor = importlib.import_module(_EXECUTOR)
    executor.__dict__["subprocess"] = SimpleNamespace(
        Popen=server.popen, DEVNULL=subprocess.DEVNULL
    )
    importlib.import_module("flwr.supercore.cli").flower_superexec()


if __name__ == "__main__":
    main()
