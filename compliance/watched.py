"""Processes that end with others, however those ended.

A child ends with its parent: the parent gives it a pipe as its standard input and never writes
to it. A process that is killed cannot say goodbye, but its end of the pipe closes: the child
notices, and leaves no port taken and no work half owned behind.

A parent ends with a child that it is no use without: it would go on taking work that nobody does.
Whoever looks after the parent starts both anew.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

# An orderly end, of which the child's is a part, comes to itself in this time.
ORDERLY_S = 5.0


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


def start_needed(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a program; this process, which must lead its group, ends with all of it soon after."""
    process: subprocess.Popen[bytes] = subprocess.Popen(command, **options)  # noqa: S603  # Flower's

    def watch() -> None:
        process.wait()
        time.sleep(ORDERLY_S)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, name="child-watch", daemon=True).start()
    return process


def end_group(leader: int) -> None:
    """End what is left of a group whose leader, a child of ours, was started in a new session."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
