"""The fork server does what the program on the path would do, in processes of its own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clients.node.forkserver import FIRST, LATER

# Notes what a launcher finds; the reply of the fork server's child is this file.
LAUNCHER = """
import json, os, sys
import numpy, torch
out = sys.argv[1]
numbers = [int(numpy.random.randint(2**31)), int(torch.randint(2**31, (1,)))]
found = {"arguments": sys.argv[1:], "pid": os.getpid(), "parent": os.getppid(),
         "numbers": numbers, "by": os.environ["BY"], "warm": "clients.node.launcher" in sys.modules}
with open(out + ".part", "w") as file:
    json.dump(found, file)
os.rename(out + ".part", out)
"""
SUPEREXEC = """
import os, signal, sys, time
from clients.node.forkserver import ForkServer
server = ForkServer((sys.argv[1],))
os.environ["BY"] = "server"
server.start()
os.environ["BY"] = "program"
for line in sys.stdin:
    command = line.split()
    if command == ["kill"]:
        import subprocess
        children = subprocess.run(["pgrep", "-P", str(os.getpid())], capture_output=True, text=True)
        os.kill(int(children.stdout.split()[0]), signal.SIGKILL)
        os.wait()
    else:
        server.popen([sys.argv[2], *command, "--parent-pid", str(os.getpid())])
"""


class Asking:
    """A process that asks its fork server, line by line."""

    def __init__(self, root: Path) -> None:
        self._root = root
        (root / "launcher.py").write_text(LAUNCHER)
        program = root / "program"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{root}/launcher.py" "$@"\n')
        program.chmod(0o700)
        self.process = subprocess.Popen(
            [sys.executable, "-c", SUPEREXEC, str(root / "launcher.py"), str(program)],
            stdin=subprocess.PIPE,
            text=True,
        )

    def say(self, line: str) -> None:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def launch(self, name: str) -> dict:
        self.say(str(self._root / name))
        wait_for((self._root / name).exists)
        return json.loads((self._root / name).read_text())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(30)


@pytest.fixture(scope="module")
def asking(tmp_path_factory):
    asked = Asking(tmp_path_factory.mktemp("fork"))
    yield asked
    asked.close()


@pytest.fixture(scope="module")
def found(asking):
    return [asking.launch(name) for name in ("one", "two", "three")]


def wait_for(condition, timeout_s=60):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


def is_alive(pid):
    # A process that has ended may still be waiting for its parent.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_each_launcher_is_a_process_of_its_own_with_its_arguments(asking, found):
    assert [one["arguments"][0].rsplit("/", 1)[1] for one in found] == ["one", "two", "three"]
    assert len({one["pid"] for one in found}) == len(found)
    assert {one["by"] for one in found} == {"server"}
    assert all(one["warm"] for one in found)


def test_launcher_watches_the_parent_that_it_has(found):
    for one in found:
        assert one["arguments"][1:] == ["--parent-pid", str(one["parent"])]


def test_no_two_launchers_draw_the_same_numbers(found):
    for place in range(2):
        assert len({one["numbers"][place] for one in found}) == len(found)


def test_nothing_is_loaded_before_the_fork_whose_threads_would_be_missing_after_it():
    code = (
        "import importlib, json, sys, threading\n"
        f"for name in {FIRST + LATER!r}: importlib.import_module(name)\n"
        "print(json.dumps(['polars' in sys.modules, threading.active_count()]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [False, 1]


def test_program_itself_is_started_where_the_server_is_gone(tmp_path):
    asked = Asking(tmp_path)
    before = asked.launch("before")
    asked.say("kill")
    after = asked.launch("after")
    assert (before["by"], after["by"]) == ("server", "program")
    assert (before["warm"], after["warm"]) == (True, False)
    assert after["parent"] == asked.process.pid
    asked.close()


def test_server_ends_with_the_process_that_started_it(tmp_path):
    asked = Asking(tmp_path)
    server = asked.launch("one")["parent"]
    assert server != asked.process.pid
    os.kill(asked.process.pid, 9)
    asked.close()
    wait_for(lambda: not is_alive(server), 30)
