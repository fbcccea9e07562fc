"""The key holder as a child process of `lianfang node start`, started again when it dies.

A process of its own, so that a long evaluation batch and Flower keep out of each other's
way, and so that a fault in one leaves the other up.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self

from clients.node.files import make_private_directory
from compliance.atrest.handover import Handover

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
# A process that lived this long was a good one: the next is started without growing waits.
GOOD_AFTER_S = 60.0
STOP_TIMEOUT_S = 10.0
_PROGRAM = ("-m", "clients.holder", "start")


class HolderProcess:
    """The watched process of one node's key holder, from `start` to `stop`.

    What it says goes to NODE/holder/holder.log.
    """

    def __init__(self, directory: Path, *, first_wait_s: float = FIRST_WAIT_S) -> None:
        self._directory = directory.resolve()
        self._first_wait_s = first_wait_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stop = threading.Event()
        self._handover: Handover | None = None
        self._watcher = threading.Thread(target=self._watch, name="holder-watch")

    @property
    def pid(self) -> int | None:
        """Process id while the process is running."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                return None
            return self._process.pid

    @property
    def log_file(self) -> Path:
        """Where the process writes."""
        return make_private_directory(self._directory / "holder") / "holder.log"

    def start(self) -> None:
        """Start the process and watch it; returns once it is started."""
        self._handover = Handover(self._directory)
        self._launch()
        self._watcher.start()

    def stop(self) -> None:
        """Stop the process for good."""
        with self._lock:
            self._stop.set()
            if self._process is not None:
                self._process.terminate()
        self._watcher.join()
        if self._handover is not None:
            self._handover.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _watch(self) -> None:
        wait_s = self._first_wait_s
        while (process := self._process) is not None:
            began = monotonic()
            self._await_end(process)
            if monotonic() - began > GOOD_AFTER_S:
                wait_s = self._first_wait_s
            if self._stop.wait(wait_s):
                return
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            self._launch()

    def _await_end(self, process: subprocess.Popen[bytes]) -> None:
        while process.returncode is None:
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                if self._stop.is_set():
                    process.kill()
        if process.stdin is not None:
            process.stdin.close()

    def _launch(self) -> None:
        with self._lock:
            if self._stop.is_set():
                return
            with self.log_file.open("ab") as log:
                self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and code
                    [sys.executable, *_PROGRAM, str(self._directory), "--watched"],
                    env=self._environment(),
                    # Never written to: it ends with this process, even one that is killed.
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    # Ctrl-C is for the parent, which stops this process in its own time.
                    start_new_session=True,
                )

    def _environment(self) -> dict[str, str]:
        return _environment() | dict(self._handover.environment if self._handover else {})


def _environment() -> dict[str, str]:
    """Return our environment without the proxies: the hub's address is what was configured."""
    return {
        name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
    }
