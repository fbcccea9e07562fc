"""Processes that use a log and are killed: run as a script, so that no test's threads are there.

    python worker.py crash ADDRESS DIRECTORY STEP...  dies at each STEP of append and checkpoint
    python worker.py race ADDRESS DIRECTORY           four processes append, one is killed

Everything runs in processes forked off this one. What the log has confirmed is written to
files in the directory, as `<number> <index>` lines.
"""

import os
import signal
import sys
import threading
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from conftest import World, make_entry  # the script's own folder comes first on its path

from compliance.log.sqlstore import SqlStorage

PER_PROCESS = 60
THREADS = 3


class Dying:
    """Wraps a place of the log: the process dies by SIGKILL at one named step."""

    step = ""

    def __init__(self, inner):
        self._inner = inner

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def at(self, step):
        if Dying.step == step:
            os.kill(os.getpid(), signal.SIGKILL)


class DyingStorage(Dying):
    @contextmanager
    def exclusive(self, origin):
        self.at("before the turn")
        with self._inner.exclusive(origin) as turn:
            yield turn
            self.at("before the commit")
        self.at("after the commit")

    def swap_checkpoint(self, origin, old, new):
        self.at("before publishing")
        done = self._inner.swap_checkpoint(origin, old, new)
        self.at("after publishing")
        return done


class DyingSecond(Dying):
    def swap(self, origin, old, new):
        self.at("before the second place")
        done = self._inner.swap(origin, old, new)
        self.at("after the second place")
        return done


def confirm(directory, name, line):
    """Write down what was confirmed; survives the process, which is all that is killed."""
    file = os.open(directory / f"confirmed.{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, f"{line}\n".encode())
    os.close(file)


def crash(address, directory, first, step):
    """Append three entries and publish; then die somewhere in the fourth, or its checkpoint."""
    world = World(SqlStorage.open(address), directory)
    confirm(directory, "state", " ".join(map(str, world.sizes())))
    dying = Dying(None)

    def cosign(note, prove):
        lines = world.cosign(note, prove)
        dying.at("after the witnesses")
        return lines

    log = world.open(
        storage=DyingStorage(world.storage), second=DyingSecond(world.second), cosign=cosign
    )
    for number in range(first, first + 3):
        confirm(directory, "crash", f"{number} {log.append(make_entry(number))}")
    log.checkpoint()
    Dying.step = step
    confirm(directory, "crash", f"{first + 3} {log.append(make_entry(first + 3))}")
    log.checkpoint()


def append(address, directory, name):
    """Append from several threads, with a checkpoint now and then; process 0 dies of it."""
    confirmed = count(1)
    world = World(SqlStorage.open(address), directory)
    log = world.open()

    def work(thread):
        for number in range(thread, PER_PROCESS, THREADS):
            key = name * 1_000 + number
            confirm(directory, name, f"{key} {log.append(make_entry(key))}")
            if name == 0 and next(confirmed) == PER_PROCESS // 3:
                # The other threads are in the middle of whatever they do.
                os.kill(os.getpid(), signal.SIGKILL)
            if number % 20 == 0:
                log.checkpoint()

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def race(address, directory):
    """Four processes append; the first dies in the middle of its work."""
    # The tables are made before, by a process of their own: an engine must not be forked.
    wait(start(lambda: SqlStorage.open(address).close()))
    children = [start(append, address, directory, name) for name in range(4)]
    assert wait(children[0]) == -signal.SIGKILL
    assert [wait(child) for child in children[1:]] == [0, 0, 0]


def start(target, *arguments):
    """Fork a process."""
    child = os.fork()
    if child == 0:
        try:
            target(*arguments)
            os._exit(0)
        finally:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    return child


def wait(child):
    """Return the exit code; a signal as a negative number."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(command, address, place, *steps):
    """Run one command."""
    directory = Path(place)
    directory.mkdir(exist_ok=True)
    if command == "race":
        race(address, directory)
    for number, step in enumerate(steps):
        child = start(crash, address, directory, 10 * number, step)
        assert wait(child) == -signal.SIGKILL, step


if __name__ == "__main__":
    main(*sys.argv[1:])
