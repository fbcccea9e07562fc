"""What goes wrong between log and storage, and what must hold all the same.

Always: what was confirmed is there, once, where it was said to be; no gap; nothing that was
published or signed is contradicted; the log goes on. Not a failure: an entry that is there
although nobody was told, or a checkpoint that was signed and never published.
"""

import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from compliance.log.errors import StorageError
from compliance.log.sqlstore import SqlStorage

ROOT = Path(__file__).parents[3]
WORKER = Path(__file__).with_name("worker.py")

# Step of the crash -> entries, size in the second place, size published.
CRASHES = {
    "before the turn": (3, 3, 3),
    "before the commit": (3, 3, 3),
    "after the commit": (4, 3, 3),
    "before the second place": (4, 3, 3),
    "after the second place": (4, 4, 3),
    "after the witnesses": (4, 4, 3),
    "before publishing": (4, 4, 3),
    "after publishing": (4, 4, 4),
}


class Faulty:
    """A storage or second place of which some calls fail, before or after they are done."""

    def __init__(self, inner):
        self._inner = inner
        self.plan = []  # for each coming write: None, "before" or "after"

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def next(self):
        return self.plan.pop(0) if self.plan else None

    def fail(self, planned, when):
        if planned == when:
            raise StorageError(f"failed {when} on purpose")

    @contextmanager
    def exclusive(self, origin):
        planned = self.next()
        self.fail(planned, "before")
        with self._inner.exclusive(origin) as turn:
            yield turn
        self.fail(planned, "after")

    def swap(self, *arguments):
        planned = self.next()
        self.fail(planned, "before")
        done = self._inner.swap(*arguments)
        self.fail(planned, "after")
        return done

    def swap_checkpoint(self, *arguments):
        planned = self.next()
        self.fail(planned, "before")
        done = self._inner.swap_checkpoint(*arguments)
        self.fail(planned, "after")
        return done


def run_worker(*arguments):
    done = subprocess.run(
        [sys.executable, WORKER, *arguments],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("plan", [["before"], ["after"], ["before", None, "after"]])
def test_append_that_failed_once_is_there_once(world, tools, plan):
    faulty = Faulty(world.storage)
    log = world.open(storage=faulty)
    log.append(tools.make_entry(0))
    faulty.plan = plan
    assert log.append(tools.make_entry(1)) == 1
    assert not faulty.plan
    assert log.append(tools.make_entry(2)) == 2
    world.check_log(3)


def test_append_that_keeps_failing_is_told_and_not_there(world, tools):
    faulty = Faulty(world.storage)
    log = world.open(storage=faulty)
    log.append(tools.make_entry(0))
    faulty.plan = ["before", None] * 3
    with pytest.raises(StorageError):
        log.append(tools.make_entry(1))
    world.check_log(1)
    assert log.append(tools.make_entry(2)) == 1
    world.check_log(2)


def test_append_of_open_outcome_is_not_confirmed_and_not_lost(world, tools):
    faulty = Faulty(world.storage)
    log = world.open(storage=faulty)
    log.append(tools.make_entry(0))
    faulty.plan = ["after", "before"]  # stored; nobody can find out
    with pytest.raises(StorageError):
        log.append(tools.make_entry(1))
    assert log.append(tools.make_entry(2)) == 2
    entries = world.check_log(3)
    assert entries[1] == replace(tools.make_entry(1), sequence=1).encode()


def test_failed_append_is_told_from_what_others_appended(world, tools):
    other = world.open()
    faulty = Faulty(world.storage)
    log = world.open(storage=faulty)

    @contextmanager
    def overtaken(origin):
        planned = faulty.next()
        if planned:
            other.append(tools.make_entry(100))
        with world.storage.exclusive(origin) as turn:
            yield turn
        if planned:
            other.append(tools.make_entry(101))
        faulty.fail(planned, "after")

    faulty.exclusive = overtaken
    faulty.plan = ["after"]
    assert log.append(tools.make_entry(1)) == 1
    assert log.append(tools.make_entry(2)) == 3
    world.check_log(4)


@pytest.mark.parametrize("when", ["before", "after"])
def test_failing_second_place_publishes_nothing(world, tools, when):
    faulty = Faulty(world.second)
    log = world.open(second=faulty)
    log.append(tools.make_entry(0))
    log.checkpoint()
    log.append(tools.make_entry(1))
    faulty.plan = [when]
    with pytest.raises(StorageError):
        log.checkpoint()
    assert world.sizes()[1:] == (2 if when == "after" else 1, 1)
    world.open()
    assert log.append(tools.make_entry(2)) == 2
    log.checkpoint()
    assert world.sizes()[1:] == (3, 3)
    world.check_log(3)


@pytest.mark.parametrize("when", ["before", "after"])
def test_failing_publication_is_told_and_made_good(world, tools, when):
    faulty = Faulty(world.storage)
    log = world.open(storage=faulty)
    log.append(tools.make_entry(0))
    faulty.plan = [when]
    with pytest.raises(StorageError):
        log.checkpoint()
    world.open()
    log.checkpoint()
    assert world.sizes()[1:] == (1, 1)
    world.check_log(1)


def test_killed_at_every_step_loses_nothing(address, tmp_path, tools):
    run_worker("crash", address, str(tmp_path), *CRASHES)
    world = tools.World(SqlStorage.open(address), tmp_path)
    states = [
        tuple(map(int, line.split()))
        for line in (tmp_path / "confirmed.state").read_text().splitlines()
    ]
    states.append(world.sizes())
    assert states[0] == (0, 0, 0)
    for step, before, after in zip(CRASHES, states, states[1:], strict=False):
        assert after == tuple(before[0] + more for more in CRASHES[step]), step
    entries = world.check_log(states[-1][0])
    lines = (tmp_path / "confirmed.crash").read_text().splitlines()
    assert len(lines) == 3 * len(CRASHES) + sum(signed > 3 for _, signed, _ in CRASHES.values()) + 1
    check_confirmed(lines, entries, tools)
    size = len(entries)
    log = world.open()
    assert log.append(tools.make_entry(999)) == size
    log.checkpoint()
    assert world.sizes() == (size + 1,) * 3
    world.check_log(size + 1)
    world.storage.close()


def test_four_processes_share_a_log_and_one_is_killed(address, tmp_path, tools):
    run_worker("race", address, str(tmp_path))
    world = tools.World(SqlStorage.open(address), tmp_path)
    lines = {
        name: (world.directory / f"confirmed.{name}").read_text().splitlines() for name in range(4)
    }
    counts = [len(lines[name]) for name in range(4)]
    assert counts[1:] == [60] * 3
    assert 20 <= counts[0] < 25
    size = world.storage.edge(tools.ORIGIN).size
    # At most the entries that its threads had in hand are there unconfirmed.
    assert sum(counts) <= size <= sum(counts) + 3
    entries = world.check_log(size)
    check_confirmed([line for name in range(4) for line in lines[name]], entries, tools)
    numbers = [entry[entry.index(b'"commitment"') :][:80] for entry in entries]
    assert len(set(numbers)) == size
    log = world.open()
    assert log.append(tools.make_entry(9_999)) == size
    log.checkpoint()
    world.check_log(size + 1)
    world.storage.close()


def check_confirmed(lines, entries, tools):
    """Every confirmed entry stands where its appender was told, and nowhere else."""
    places = [tuple(map(int, line.split())) for line in lines]
    assert len({index for _, index in places}) == len(places)
    for number, index in places:
        assert entries[index] == replace(tools.make_entry(number), sequence=index).encode()
