"""A child does not outlive the process that started it, even one that was killed."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

# Starts a child that watches its parent, and a grandchild in the child's group; says who they are.
PARENT = """
import subprocess, sys, time
child = subprocess.Popen(
    [sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    start_new_session=True,
)
print(child.stdout.readline().decode(), flush=True)
time.sleep(600)
"""
CHILD = """
import os, subprocess, sys, time
from compliance.watched import end_with_input
end_with_input()
below = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(os.getpid(), below.pid, flush=True)
time.sleep(600)
"""


def is_alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_killed_parent_takes_child_and_grandchild_with_it():
    parent = subprocess.Popen([sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child, below = map(int, parent.stdout.readline().split())
    assert is_alive(child)
    assert is_alive(below)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    ends_at = time.monotonic() + 20
    while is_alive(child) or is_alive(below):
        assert time.monotonic() < ends_at, "outlives its parent"
        time.sleep(0.05)


NEEDY = """
import os, sys, time
from compliance.watched import start_needed
os.setsid()
child = start_needed([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def test_process_ends_with_a_child_that_it_is_no_use_without():
    parent = subprocess.Popen([sys.executable, "-c", NEEDY], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.kill(child, signal.SIGKILL)
    assert parent.wait(20) == -signal.SIGKILL
    parent.stdout.close()
