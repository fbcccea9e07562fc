"""The SuperNode process: Flower's, with a shorter wait when the hub has nothing to say.

Flower's loop sleeps three seconds whenever it finds no message, and no setting changes it;
a phase at three partners would take that long for nothing. Only that module's view of
the clock is replaced; the dependency is pinned to one minor version.
"""

from __future__ import annotations

import importlib
import time
from types import SimpleNamespace

from flwr.supernode.cli import flower_supernode

LONGEST_SLEEP_S = 0.25

_LOOP = "flwr.supernode.start_client_internal"


def main() -> None:
    """Run the SuperNode with the arguments of the command line."""
    loop = importlib.import_module(_LOOP)
    loop.__dict__["time"] = SimpleNamespace(
        sleep=lambda seconds: time.sleep(min(seconds, LONGEST_SLEEP_S))
    )
    flower_supernode()


if __name__ == "__main__":
    main()
