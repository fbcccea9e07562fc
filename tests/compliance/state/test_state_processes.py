"""Processes over one database: none loses a record, and a killed one holds up nobody.

Not a failure: a record of the killed process that is there although it told nobody.
"""

import contextlib
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from compliance.state.database import open_state
from compliance.state.errors import StateUnavailableError

ROOT = Path(__file__).parents[3]
WORKER = Path(__file__).with_name("state_worker.py")


@contextlib.contextmanager
def working(command, address, name, count):
    process = subprocess.Popen(
        [sys.executable, WORKER, command, address, name, str(count)],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def records_of(address):
    with open_state(address) as state, state.journal("book").exclusive() as records:
        return [record.decode().split() for record in records]


def test_two_processes_hammer_one_journal_and_one_is_killed(address):
    open_state(address).close()
    with (
        working("hammer", address, "killed", 10_000) as killed,
        working("hammer", address, "going", 150) as going,
    ):
        told = {"killed": [killed.stdout.readline() for _ in range(40)]}
        killed.send_signal(signal.SIGKILL)
        told["killed"] += killed.stdout.read().splitlines()
        told["going"] = going.stdout.read().splitlines()
        assert going.wait() == 0
    found = records_of(address)
    numbers = {name: [int(n) for who, n, _ in found if who == name] for name in told}
    assert numbers["going"] == list(range(150))
    assert 0 <= len(numbers["killed"]) - len(told["killed"]) <= 1
    assert numbers["killed"] == list(range(len(numbers["killed"])))
    # Each was decided on everything before it.
    assert [int(known) for _, _, known in found] == list(range(len(found)))


def test_transactions_of_killed_processes_are_whole(address):
    open_state(address).close()
    with (
        working("group", address, "killed", 10_000) as killed,
        working("group", address, "going", 60) as going,
    ):
        for _ in range(20):
            killed.stdout.readline()
        killed.send_signal(signal.SIGKILL)
        assert len(going.stdout.read().splitlines()) == 60
    with open_state(address) as state:
        assert int(state.documents("counts").get("all")) == len(records_of(address)) >= 80


def test_killed_before_its_commit_leaves_nothing_and_frees_all(address):
    with working("stop", address, "killed", 3) as killed:
        assert [killed.stdout.readline() for _ in range(3)] == ["0\n", "1\n", "open\n"]
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        began = time.monotonic()
        with open_state(address) as state:
            journal = state.journal("book")
            with state.transaction(), journal.exclusive() as records:
                assert [record.split()[1] for record in records] == [b"0", b"1"]
                journal.append(b"after 0 0")
            assert state.documents("counts").names() == []
        assert time.monotonic() - began < 10
    assert [name for name, _, _ in records_of(address)] == ["killed", "killed", "after"]


def test_objects_go_on_after_the_server_was_restarted(postgres):
    """Whatever was cut off is there or not; nothing is there twice, nothing has to be reopened."""
    learned, told = [], []
    stop = threading.Event()
    with open_state(postgres()) as state:
        journal, documents = state.journal("book"), state.documents("tables")
        grouped = state.journal("grouped", forget=learned.clear)

        def step(number):
            with journal.exclusive() as records:
                told.extend(records)
                journal.append(b"%d" % number)
                told.append(b"%d" % number)
            with state.transaction():
                with grouped.exclusive() as records:
                    learned.extend(records)
                    grouped.append(b"%d" % number)
                    learned.append(b"%d" % number)
                documents.put("last", b"%d" % number)

        def work():
            number = 0
            while not stop.is_set():
                number += 1
                with contextlib.suppress(StateUnavailableError):
                    step(number)

        worker = threading.Thread(target=work)
        worker.start()
        time.sleep(0.3)
        postgres.stop()
        with pytest.raises(StateUnavailableError):
            state.check()
        postgres.start()
        time.sleep(0.3)
        stop.set()
        worker.join()
        state.check()
        for _ in range(2):
            step(0)
        for name, seen in (("book", told), ("grouped", learned)):
            with state.journal(name).exclusive() as records:
                assert records == seen
                assert len(set(records[:-2])) == len(records) - 2
                assert len(records) > 20


def test_lost_connection_in_the_block_is_told_and_made_good(postgres):
    address = postgres()
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    with open_state(address) as state:
        journal = state.journal("book")
        with journal.exclusive():
            journal.append(b"one")
        with pytest.raises(StateUnavailableError), journal.exclusive():  # noqa: PT012 - the cut comes in between
            postgres.run(cut + " AND backend_type = 'client backend'")
            journal.append(b"lost")
        with journal.exclusive() as records:
            assert records == []
            journal.append(b"two")
        with state.journal("book").exclusive() as records:
            assert records == [b"one", b"two"]
