"""Key holders that are away, silent or stopped while customers wait at the counter."""

import ctypes
import os
import signal
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TGKILL = 234  # of x86-64; other machines skip the test


@pytest.fixture(scope="module")
def town(make_town):
    return make_town("absent")


@pytest.fixture(scope="module")
def without_telecom(town, people):
    """Receipts of six lights after the telecom's holder was killed."""
    telecom = town.place.started[2]
    telecom.kill()
    telecom.wait()
    return [town.check(person).fields for person in (*people.red[:3], *people.green[:3])]


@pytest.fixture(scope="module")
def alone(town, without_telecom, people):
    """The lights of a new person and of one asked before, when the hub is the only holder."""
    police = town.place.started[1]
    police.kill()
    police.wait()
    before = town.used("hub"), town.used("police"), town.used("telecom")
    found = {name: town.check(person).fields for name, person in
             {"new": people.red[10], "known": people.red[0]}.items()}  # fmt: skip
    after = town.used("hub"), town.used("police"), town.used("telecom")
    return found, before, after


def test_third_holder_takes_over(town, without_telecom):
    lights = [found["light"] for found in without_telecom]
    assert lights == ["red"] * 3 + ["green"] * 3
    assert all(found["problem"] == "" for found in without_telecom)
    assert (town.used("hub"), town.used("police"), town.used("telecom")) == (6, 6, 0)


def test_hub_alone_answers_nothing_and_charges_nothing(alone):
    found, before, after = alone
    assert (found["new"]["light"], found["new"]["absent"]) == ("grey", ["hub"])
    assert "too_few_holders" in found["new"]["problem"]
    assert "/" not in found["new"]["receipt"]
    assert before == after == (6, 6, 0)


def test_known_person_is_told_without_any_holder(alone):
    found, *_ = alone
    assert (found["known"]["light"], found["known"]["problem"]) == ("red", "")


def test_silent_holder_costs_one_charge_and_no_second(town, alone, people):
    police = town.hold("police")
    person = people.red[10]  # whose question has waited since the hub was alone
    police.send_signal(signal.SIGSTOP)
    silent = town.check(person).fields
    assert (silent["light"], silent["absent"]) == ("grey", ["hub"])
    assert "too_few_holders" in silent["problem"]
    # The hub evaluates while it waits: charged, and free when the question comes again.
    assert (town.used("hub"), town.used("police")) == (7, 6)
    police.send_signal(signal.SIGCONT)
    town.connected("police")
    town.until(lambda: town.used("police") == 7)
    again = town.check(person).fields
    assert again["light"] == "red"
    assert (town.used("hub"), town.used("police")) == (7, 7)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="calls a system call by its number")
def test_holder_stops_whichever_of_its_threads_hears_the_signal(make_town):
    town = make_town("stopping", ("police",))
    hub, police = town.place.started
    for process in (police, hub):
        threads = [int(path.name) for path in Path(f"/proc/{process.pid}/task").iterdir()]
        other = max(set(threads) - {process.pid})
        assert ctypes.CDLL(None).syscall(TGKILL, process.pid, other, signal.SIGTERM) == 0
        assert process.wait(10) == 0
