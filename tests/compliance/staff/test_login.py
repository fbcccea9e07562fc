"""Opening an account: one answer, the same work, and a wait that no restart forgets."""

import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from compliance.configuration import ConfigError
from compliance.staff.accounts import State, changed
from compliance.staff.attempts import FIRST_WAIT_S, FREE, LONGEST_WAIT_S, wait_after
from compliance.staff.errors import CredentialsError
from compliance.staff.passwords import Cost, PasswordHash
from compliance.staff.staff import Staff

NOW = 1_800_064_800
RIGHT = "a long enough secret of amy"


def refused(staff, name="amy", password="wrong", now=NOW):
    with pytest.raises(CredentialsError) as told:
        staff.verify(name, password, now=now)
    return str(told.value)


def test_name_and_password_open_an_account(hire):
    assert hire(amy="approver").verify("amy", RIGHT, now=NOW).name == "amy"


def test_every_refusal_says_the_same(hire):
    staff = hire(amy="approver", otto="compliance", dora="desk")
    with staff.exclusive() as (accounts, store):
        store(changed(accounts, "dora", NOW, state=State.SUSPENDED))
    said = {
        refused(staff),
        refused(staff, "nobody", RIGHT),
        refused(staff, "not a name!", RIGHT),
        refused(staff, "x" * 10_000, RIGHT),
        refused(staff, "dora", "a long enough secret of dora"),
        refused(staff, password="x" * 10_000),
    }
    for _ in range(FREE):
        said.add(refused(staff))
    said.add(refused(staff, password=RIGHT))
    assert len(said) == 1
    assert "amy" not in said.pop()


def test_a_name_that_nobody_has_takes_as_long_as_a_wrong_password(hire, tmp_path):
    # One hash costs some 20 ms: a branch without it would be many times faster. `otto` is shut.
    hire(amy="approver", otto="compliance")
    cost = Cost(16_384, 2, 1)
    staff = Staff(tmp_path / "insurer", cost=cost)
    with staff.exclusive() as (accounts, store):
        kept = PasswordHash.of(RIGHT, cost, lambda size: b"s" * size)
        store({name: replace(item, password=kept) for name, item in accounts.items()})
    for _ in range(FREE):
        refused(staff, "otto")
    counters = tmp_path / "insurer" / "staff" / "attempts.json"
    seconds = {"amy": [], "otto": [], "nobody": [], "no name at all!": []}
    for _ in range(10):
        staff.attempts.clear("amy")
        for name, found in seconds.items():
            before, file = time.process_time(), counters.stat().st_ino
            refused(staff, name)
            found.append(time.process_time() - before)
            assert counters.stat().st_ino != file, "the disk is waited for as well"
    least = [min(found) for found in seconds.values()]
    assert max(least) < 1.6 * min(least), least


def test_waits_grow_and_end():
    waits = [wait_after(failures) for failures in range(20)]
    assert waits[:FREE] == [0] * FREE
    assert waits[FREE] == FIRST_WAIT_S
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_WAIT_S == wait_after(10**6)


def test_the_right_password_waits_too(hire):
    staff = hire(amy="approver")
    for _ in range(FREE):
        refused(staff)
    refused(staff, password=RIGHT)
    refused(staff, password=RIGHT, now=NOW + FIRST_WAIT_S - 1)
    assert staff.verify("amy", RIGHT, now=NOW + FIRST_WAIT_S)


def test_attempts_while_shut_do_not_lengthen_the_wait(hire):
    staff = hire(amy="approver")
    for _ in range(FREE + 10):
        refused(staff)
    assert staff.verify("amy", RIGHT, now=NOW + FIRST_WAIT_S)


def test_failure_after_the_wait_doubles_it(hire):
    staff = hire(amy="approver")
    for _ in range(FREE):
        refused(staff)
    later = NOW + FIRST_WAIT_S
    refused(staff, now=later)
    refused(staff, password=RIGHT, now=later + 2 * FIRST_WAIT_S - 1)
    assert staff.verify("amy", RIGHT, now=later + 2 * FIRST_WAIT_S)


def test_success_forgets_failures(hire):
    staff = hire(amy="approver")
    for _ in range(3):
        for _ in range(FREE - 1):
            refused(staff)
        assert staff.verify("amy", RIGHT, now=NOW)


def test_one_account_shut_leaves_others_open(hire):
    staff = hire(amy="approver", otto="compliance")
    for _ in range(FREE):
        refused(staff)
    assert staff.verify("otto", "a long enough secret of otto", now=NOW)


def test_a_wait_survives_a_new_process(hire, tmp_path):
    staff = hire(amy="approver")
    code = f"""
import sys
from pathlib import Path
from compliance.staff.errors import CredentialsError
from compliance.staff.staff import Staff
staff = Staff(Path(sys.argv[1]))
for _ in range({FREE}):
    try:
        staff.verify("amy", "wrong", now={NOW})
    except CredentialsError:
        pass
"""
    subprocess.run([sys.executable, "-c", code, tmp_path / "insurer"], check=True)
    refused(staff, password=RIGHT)
    refused(Staff(tmp_path / "insurer"), password=RIGHT)
    assert staff.attempts.shut_until("amy") == NOW + FIRST_WAIT_S


def test_a_process_killed_while_it_looks_has_still_failed(hire, tmp_path):
    staff = hire(amy="approver")
    code = f"""
import os, signal, sys
from pathlib import Path
from compliance.staff.passwords import PasswordHash
from compliance.staff.staff import Staff
PasswordHash.matches = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
Staff(Path(sys.argv[1])).verify("amy", "wrong", now={NOW})
"""
    for _ in range(FREE - 1):
        refused(staff)
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "insurer"], check=False)
    assert done.returncode == -9
    refused(staff, password=RIGHT)


def test_guesses_at_the_same_moment_are_all_counted(hire, tmp_path, cheap):
    hire(amy="approver")

    def guess():
        refused(Staff(tmp_path / "insurer", cost=cheap))

    threads = [threading.Thread(target=guess) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    staff = Staff(tmp_path / "insurer", cost=cheap)
    # Twenty at once had five guesses between them, as if they had come one after the other.
    assert staff.attempts.shut_until("amy") == NOW + FIRST_WAIT_S
    refused(staff, password=RIGHT)


def test_a_dearer_hash_is_made_at_the_next_login(hire, tmp_path):
    hire(amy="approver")
    dearer = Staff(tmp_path / "insurer", cost=Cost(128, 1, 1))
    dearer.verify("amy", RIGHT, now=NOW)
    assert dearer.accounts()["amy"].password.cost == Cost(128, 1, 1)
    assert dearer.verify("amy", RIGHT, now=NOW)


def test_damaged_counters_let_nobody_in(hire, tmp_path):
    staff = hire(amy="approver")
    staff.verify("amy", RIGHT, now=NOW)
    refused(staff)
    (tmp_path / "insurer" / "staff" / "attempts.json").write_bytes(b"{}")
    with pytest.raises(ConfigError, match=r"restore staff/attempts.json"):
        staff.verify("amy", RIGHT, now=NOW)
