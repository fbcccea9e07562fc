"""Locks among processes: one at a time, and free again when their holder dies."""

import subprocess
import sys
import threading
import time

import pytest

from compliance.state.errors import StateUnavailableError
from server.keeping.locks import DatabaseLocks

DYING = """
import os, signal, sys
from server.keeping.locks import DatabaseLocks, FileLocks
from pathlib import Path

kind, place, how = sys.argv[1:]
locks = FileLocks(Path(place)) if kind == "file" else DatabaseLocks(place)
if how == "lease":
    assert locks.lease("a").holds()
    print("held", flush=True)
    signal.pause()
with locks.holding("a"):
    print("held", flush=True)
    signal.pause()
"""


def test_one_at_a_time(keeping, other):
    order = []

    def work(locks, name):
        for _ in range(10):
            with locks.holding("a"):
                order.append(name)
                time.sleep(0.001)
                order.append(name)

    threads = [
        threading.Thread(target=work, args=(one.locks, number))
        for number, one in enumerate((keeping, keeping, other, other))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(order) == 80
    assert all(first == second for first, second in zip(order[::2], order[1::2], strict=True))


def test_error_in_the_block_frees_the_name(keeping, other):
    with pytest.raises(ValueError, match="no"), keeping.locks.holding("a"):
        raise ValueError("no")
    with other.locks.holding("a"):
        pass


@pytest.mark.parametrize("how", ["lock", "lease"])
def test_killed_process_frees_what_it_held(hub, keeping, how):
    address = hub.settings().database
    if how == "lease" and not address:
        pytest.skip("of one machine one process serves a hub")
    place = ("database", address) if address else ("file", str(hub.root / "locks"))
    child = subprocess.Popen(
        [sys.executable, "-c", DYING, *place, how], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout.readline() == "held\n"
        if how == "lease":
            lease = keeping.locks.lease("a")
            assert not lease.holds()
            child.kill()
            ends_at = time.monotonic() + 10
            while not lease.holds():
                assert time.monotonic() < ends_at
                time.sleep(0.02)
            lease.close()
        else:
            child.kill()
            with keeping.locks.holding("a"):
                pass
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_lease_is_one_process_s_until_it_is_given_back(postgres):
    address = postgres()
    ours, theirs = DatabaseLocks(address), DatabaseLocks(address)
    first, second = ours.lease("a"), theirs.lease("a")
    assert first.holds()
    assert first.holds()
    assert not second.holds()
    first.close()
    assert second.holds()
    second.close()
    ours.close()
    theirs.close()


def test_names_of_two_hubs_on_one_server_are_two(postgres):
    ours, theirs = DatabaseLocks(postgres()), DatabaseLocks(postgres())
    first, second = ours.lease("a"), theirs.lease("a")
    assert first.holds()
    assert second.holds()
    for item in (first, second, ours, theirs):
        item.close()


def test_lost_connection_loses_the_lease_and_is_noticed(postgres):
    address = postgres()
    locks = DatabaseLocks(address)
    first, second = locks.lease("a"), locks.lease("a")
    assert first.holds()
    postgres.run(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
    )
    assert second.holds()
    assert not first.holds()
    second.close()
    locks.close()


def test_locks_go_on_after_the_server_was_restarted(postgres):
    locks = DatabaseLocks(postgres())
    with locks.holding("a"):
        pass
    postgres.stop()
    try:
        with pytest.raises(StateUnavailableError), locks.holding("a"):
            pass
    finally:
        postgres.start()
    with locks.holding("a"):
        pass
    locks.close()
