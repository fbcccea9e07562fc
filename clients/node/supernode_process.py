"""The SuperNode process: Flower's, with a shorter wait when the hub has nothing to say.

Flower's loop sleeps three seconds whenever it finds no message, and no setting changes it;
a phase at three partners would take that long for nothing. It sleeps half a second at a time
while the launcher is at work. It starts the program that starts launchers, and never looks
after it again: without it every phase would be taken and none begun, so this process ends with
it. Only that module's views of the clock and of `subprocess` are replaced; the dependency is
pinned to one minor version.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

from flwr.supernode.cli import flower_supernode

from clients.node.pace import Pace
from compliance.atrest.secrets import secret_file
from compliance.watched import end_with_input, start_needed

BUSY_S = 0.25
IDLE_S = 2.0
# Flower's sleep where it found no message; a shorter one waits for the launcher's reply.
NOTHING_S = 3

_LOOP = "flwr.supernode.start_client_internal"
_KEY_OPTION = "--auth-supernode-private-key"
_open_files = ExitStack()


def main() -> None:
    """Run the SuperNode with the arguments of the command line."""
    end_with_input()
    _own_key_in_clear()
    loop = importlib.import_module(_LOOP)
    loop.__dict__["time"] = SimpleNamespace(sleep=sleeping(Pace(BUSY_S, IDLE_S)))
    loop.__dict__["subprocess"] = SimpleNamespace(Popen=start_needed)
    flower_supernode()


def sleeping(pace: Pace) -> Callable[[float], None]:
    """Return what takes the place of Flower's sleep."""

    def sleep(seconds: float) -> None:
        if seconds < NOTHING_S:
            pace.note()
        pace.wait(seconds)

    return sleep


def _own_key_in_clear() -> None:
    """Name a copy in memory where the key is sealed: Flower reads its key from a clear file."""
    at = sys.argv.index(_KEY_OPTION) + 1
    # Open until the process ends: Flower reads it once, at its start.
    path = _open_files.enter_context(secret_file(Path(sys.argv[at])))
    sys.argv[at] = str(path)


if __name__ == "__main__":
    main()
