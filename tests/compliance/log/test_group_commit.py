"""Sharing commits: who waits, who does not, and what a failure tells whom."""

import threading
import time

import pytest

from compliance.errors import LogCorruptError
from compliance.log.errors import StorageError
from compliance.log.groupcommit import GroupCommit


def run(group, count, rounds=1):
    """Submit from many threads; return results and errors."""
    results, errors = [], []

    def work(name):
        for number in range(rounds):
            try:
                results.append(group.submit((name, number)))
            except (StorageError, LogCorruptError, ZeroDivisionError) as error:
                errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    return results, errors


def test_everyone_gets_the_result_of_the_own_item():
    batches = []

    def commit(items):
        batches.append(list(items))
        time.sleep(0.002)
        return list(items)

    results, errors = run(GroupCommit(commit), 16, rounds=20)
    assert not errors
    assert sorted(results) == sorted(item for batch in batches for item in batch)
    assert sorted(results) == [(name, number) for name in range(16) for number in range(20)]
    assert len(batches) < 160  # 320 items: at the least two share a commit on average


def test_caller_alone_does_not_wait():
    group = GroupCommit(list, window_s=30.0)
    started = time.monotonic()
    for number in range(100):
        assert group.submit(number) == number
    assert time.monotonic() - started < 5


def test_leader_waits_no_longer_than_the_window():
    group = GroupCommit(list, window_s=0.05)
    group._expected, group._ended = 16, time.monotonic()
    started = time.monotonic()
    group.submit(1)
    first = time.monotonic() - started
    assert 0.04 < first < 5
    time.sleep(0.06)
    group._expected = 16
    started = time.monotonic()
    group.submit(2)  # so long after the commit before, nobody is expected any more
    assert time.monotonic() - started < 0.04


def test_batches_are_no_larger_than_allowed():
    sizes = []

    def commit(items):
        sizes.append(len(items))
        time.sleep(0.001)
        return list(items)

    results, _ = run(GroupCommit(commit, most=3), 12, rounds=5)
    assert len(results) == 60
    assert max(sizes) == 3


@pytest.mark.parametrize("error", [StorageError("disk"), LogCorruptError("fork")])
def test_failure_reaches_every_caller_of_the_batch(error):
    entered, release = threading.Event(), threading.Event()

    def commit(items):
        if not entered.is_set():
            entered.set()
            release.wait(5)
            return list(items)
        raise error

    group = GroupCommit(commit)
    first = threading.Thread(target=group.submit, args=(0,))
    first.start()
    entered.wait(5)
    threading.Timer(0.05, release.set).start()
    results, errors = run(group, 5)
    first.join()
    assert not results
    assert errors == [error] * 5


def test_interrupted_leader_leaves_nobody_waiting():
    calls = []

    def commit(items):
        calls.append(items)
        if len(calls) == 1:
            time.sleep(0.05)
            return list(items)
        raise ZeroDivisionError

    group = GroupCommit(commit)
    threading.Thread(target=group.submit, args=(0,)).start()
    while not calls:
        time.sleep(0.001)
    results, errors = run(group, 4)
    assert not results
    # The leader has its own error, the others learn that the outcome is open.
    assert {type(error) for error in errors} <= {ZeroDivisionError, StorageError}
    assert len(errors) == 4
    with pytest.raises(ZeroDivisionError):
        group.submit(9)
