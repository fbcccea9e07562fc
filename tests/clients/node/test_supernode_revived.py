"""A SuperNode process that is gone is started again, and less and less often if it does not last.

The process is a real one; only its program is the test's, and time is told.
"""

import os
import signal
import time

import pytest

from clients.node.supernode import (
    REVIVE_FIRST_S,
    REVIVE_LONGEST_S,
    SuperNode,
    SuperNodeSettings,
)

ENDS = ("-c", "pass")
STAYS = ("-c", "import sys; sys.stdin.read()")


class Time:
    """Seconds that pass when the test says so."""

    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Time()


@pytest.fixture
def make(tmp_path, clock):
    """Launch a SuperNode with another program in its place."""
    made = []

    def launch(program):
        files = (tmp_path / "ca.pem", tmp_path / "node.key")
        settings = SuperNodeSettings(tmp_path, "127.0.0.1:1", *files, program=program)
        node = SuperNode(settings, clock=clock)
        made.append(node)
        node.launch()
        return node

    yield launch
    for node in made:
        node.stop()


def gone(node):
    """Wait until the process has ended."""
    ends_at = time.monotonic() + 30
    while node.pid is not None:
        assert time.monotonic() < ends_at, "the process goes on"
        time.sleep(0.01)


def kill(node):
    os.kill(node.pid, signal.SIGKILL)
    gone(node)


def test_lost_process_is_started_at_once_and_a_living_one_left_alone(make, clock):
    node = make(STAYS)
    first = node.pid
    assert not node.revive()
    assert node.pid == first
    kill(node)
    assert node.revive()
    assert node.pid not in (None, first)
    assert not node.revive()


def test_process_that_does_not_last_is_started_less_and_less_often(make, clock):
    node = make(ENDS)
    gone(node)
    assert node.revive()
    allowed_s = REVIVE_FIRST_S
    for _ in range(7):
        gone(node)
        launched_at = clock.now
        # Half of the wait is chance: before half of it never, after all of it surely.
        clock.now = launched_at + 0.49 * allowed_s
        assert not node.revive()
        clock.now = launched_at + allowed_s
        assert node.revive()
        allowed_s = min(2 * allowed_s, REVIVE_LONGEST_S)
    assert allowed_s == REVIVE_LONGEST_S


def test_process_that_lasted_is_started_at_once_again(make, clock):
    node = make(STAYS)
    for _ in range(3):
        kill(node)
        clock.now += REVIVE_LONGEST_S
        assert node.revive()
    kill(node)
    assert not node.revive()
    clock.now += REVIVE_LONGEST_S
    assert node.revive()
    clock.now += REVIVE_LONGEST_S + 1
    assert not node.revive()  # seen alive
    kill(node)
    assert node.revive()


def test_stopped_node_leaves_no_process(make):
    node = make(STAYS)
    kill(node)
    node.revive()
    pid = node.pid
    node.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
