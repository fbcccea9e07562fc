"""Processes that use one ledger and are killed: a script, so that no test's threads are there.

    python ledger_worker.py race   one line on standard input is one round: DIRECTORY SEED
    python ledger_worker.py torn   one line is one death: PATH KIND BYTES

In a race four processes spend one cap until nothing more fits, and one of them gets SIGKILL
at a moment drawn from the seed. In the other mode a process is killed by the kernel (SIGXFSZ)
once BYTES more bytes of the file are written, in the middle of whatever it writes.
"""

import os
import random
import resource
import signal
import sys
import time
from pathlib import Path

from compliance.entries import Scope
from compliance.errors import BudgetExhaustedError
from compliance.ledger import Cap, Ledger
from protocols.dp.events import Gaussian

PROCESSES = 4
SCOPE = Scope("people", "telecom", "police")
CAPS = {scope: Cap(1.0, 1e-5) for scope in (SCOPE, SCOPE.over_recipients)}
SMALL = Gaussian(20.0)  # 28 of these fit under the cap
LONGEST_WAIT_S = 0.08


def spend(directory, name, seed):
    """Pay one release after the other; each act that returned is written down."""
    draw = random.Random(f"{seed}/{name}")
    with (directory / f"acknowledged-{name}").open("w", buffering=1) as out:
        ledger = Ledger(directory / "ledger", CAPS)
        for number in range(1_000):
            run = f"{name}-{number}"
            try:
                ledger.reserve(run, [SCOPE], SMALL, 1)
            except BudgetExhaustedError:
                return
            out.write(f"reserve {run}\n")
            ledger.charge(run, "release", SMALL, 1)
            out.write(f"charge {run}\n")
            if draw.random() < 0.5:  # an open run and a closed one cost the same once all is paid
                ledger.close_run(run, 1)
                out.write(f"close {run}\n")


def race(directory, seed):
    """Run one round; returns the exit status of every process."""
    start, go = os.pipe()
    pids = []
    for name in range(PROCESSES):
        pid = os.fork()
        if pid == 0:
            os.close(go)
            os.read(start, 1)
            in_child(lambda name=name: spend(directory, name, seed))
        pids.append(pid)
    os.close(start)
    os.close(go)  # all begin at once
    time.sleep(random.Random(seed).uniform(0, LONGEST_WAIT_S))
    os.kill(pids[0], signal.SIGKILL)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def torn(path, kind, size):
    """Do one act in a process that dies after so many bytes; returns its exit status."""

    def act():
        limit = (path.stat().st_size if path.exists() else 0) + size
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if kind != "open":
            ledger = Ledger(path, CAPS)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # the interpreter ignores it
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        match kind:
            case "open":
                Ledger(path, CAPS)
            case "reserve":
                ledger.reserve("b", [SCOPE], SMALL, 1)
            case "charge":
                ledger.charge("a", "release", SMALL, 1)
            case "close":
                ledger.close_run("a", 1)

    pid = os.fork()
    if pid == 0:
        in_child(act)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def in_child(act):
    """Do what a forked process is for, and end it without returning."""
    code = 1
    try:
        act()
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def main():
    for line in sys.stdin:
        words = line.split()
        if sys.argv[1] == "race":
            codes = race(Path(words[0]), int(words[1]))
        else:
            codes = [torn(Path(words[0]), words[1], int(words[2]))]
        sys.stdout.write(" ".join(map(str, codes)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
