"""A child that ends with the process that started it, however that one ended.

The parent gives the child a pipe as its standard input and never writes to it. A process that
is killed cannot say goodbye, but its end of the pipe closes: the child notices, and leaves no
port taken and no work half owned behind.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress


def after_input(act: Callable[[], object]) -> None:
    """Call `act` in a thread of its own when standard input ends."""

    def watch() -> None:
        # Past the buffered stream, whose lock this thread would hold while the process ends.
        while os.read(sys.stdin.fileno(), 4096):
            continue
        act()

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def end_with_input() -> None:
    """End this process and its whole group when standard input ends; it must lead its group."""
    after_input(lambda: os.killpg(os.getpgrp(), signal.SIGKILL))


def end_group(leader: int) -> None:
    """End what is left of a group whose leader, a child of ours, was started in a new session."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
