"""The holder as a watched child process: it is there, comes back, and goes with its parent."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clients.holder.process import HolderProcess
from compliance.configuration import ConfigError

PARENT = """
import sys, threading
from pathlib import Path
from clients.holder.process import HolderProcess
with HolderProcess(Path(sys.argv[1])) as process:
    print(process.pid, flush=True)
    threading.Event().wait()
"""


def test_killed_process_comes_back_and_stopped_one_does_not(place, wait_until):
    with HolderProcess(place.root / "telecom", first_wait_s=0.05) as process:
        wait_until(lambda: "telecom" in place.standing.connected(), 30)
        first = process.pid
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: process.pid not in {None, first}, 30)
        wait_until(lambda: "telecom" in place.standing.connected(), 30)
        with pytest.raises(ConfigError, match="another process serves it"):
            place.node("telecom").alone().__enter__()
        last = process.pid
    assert process.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(last, 0)
    wait_until(lambda: "telecom" not in place.standing.connected())


def test_process_goes_when_its_parent_is_killed(place, wait_until):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(place.root / "telecom")],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    with parent.stdout:
        parent.stdout.readline()
        wait_until(lambda: "telecom" in place.standing.connected(), 30)
        parent.kill()
        parent.wait()
    wait_until(lambda: "telecom" not in place.standing.connected(), 30)
