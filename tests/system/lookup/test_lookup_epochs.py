"""Epochs that are begun while a holder dies, and that follow on one another."""

import shutil
import signal

import pytest

SETUPS = "compliance.evaluations.setups:KeySetups"
STORE = "compliance.evaluations.store:EpochStore"
BEFORE_ALL_SIGNED = [
    (f"{SETUPS}.announce", "after", 1),
    (f"{SETUPS}.begin", "after", 1),
    (f"{STORE}.keep_draft", "before", 1),
    (f"{SETUPS}.sign", "after", 1),
]
ALL_SIGNED = [
    (f"{SETUPS}.activate", "before", 1),
    (f"{STORE}._promote", "after", 1),
    (f"{STORE}._clear_former", "before", 1),
    (f"{SETUPS}.activate", "after", 1),
]
DRAFTED = "holder/drafts/*.share"


@pytest.fixture
def bare(make_bare_town):
    made = make_bare_town("bare")
    yield made
    made.place.stop()


@pytest.fixture
def town(make_town):
    made = make_town("epochs")
    yield made
    made.place.stop()


@pytest.mark.slow
@pytest.mark.parametrize("place", BEFORE_ALL_SIGNED, ids=str)
def test_holder_killed_before_it_signed_lets_the_epoch_begin_again(bare, people, place):
    telecom = bare.hold_again("telecom", place)
    failed = bare.begin_epoch(code=1).fields
    assert telecom.wait(10) == -signal.SIGKILL
    assert failed["state"] == "failed"
    assert [item["holder"] for item in failed["failures"]] == ["telecom"]
    bare.hold("telecom")
    assert bare.lianfang_hub("epoch", "status", bare.hub).fields["epochs"] == []
    begun = bare.begin_epoch().fields
    assert (begun["state"], begun["epoch"], begun["done"]) == ("done", 1, 2)
    assert bare.works(people)


@pytest.mark.slow
@pytest.mark.parametrize("place", ALL_SIGNED, ids=str)
def test_holder_killed_after_all_signed_is_told_when_it_is_back(bare, people, place):
    telecom = bare.hold_again("telecom", place)
    begun = bare.begin_epoch().fields
    assert telecom.wait(10) == -signal.SIGKILL
    assert (begun["state"], begun["done"], begun["total"]) == ("done", 1, 2)
    assert bare.newest() == (0, "in force", ["telecom"])
    bare.hold("telecom")
    bare.until(lambda: bare.newest() == (0, "in force", []))
    assert not list(bare.node("telecom").glob(DRAFTED))
    assert bare.works(people)


@pytest.mark.slow
def test_next_epoch_takes_over_and_the_last_one_is_still_answered(town, people):
    assert town.check(people.red[0]).fields["light"] == "red"
    # A second desk of the insurer, which will not hear of the new epoch.
    late = town.root / "insurer-late"
    shutil.copytree(town.node("insurer"), late)
    assert town.begin_epoch().fields["epoch"] == 2
    for name in ("police", "telecom"):
        again = town.lianfang("feed", "publish", town.node(name)).fields
        assert (again["epoch"], again["version"]) == (2, 1)
    town.lianfang("desk", "sync", town.node("insurer"))
    lights = {person: town.check(person).fields["light"] for person in
              (people.red[0], people.yellow[0], people.green[0])}  # fmt: skip
    assert list(lights.values()) == ["red", "yellow", "green"]
    assert (town.used("hub", epoch=1), town.used("hub", epoch=2)) == (1, 3)
    words = (late, "--case", "C-1", "--kind", "tw_national_id")
    said = town.lianfang("desk", "check", *words, stdin=people.red[1]).fields
    assert said["light"] == "red"
    assert (town.used("hub", epoch=1), town.used("hub", epoch=2)) == (2, 3)
    states = {
        item["epoch"]: item["state"]
        for item in town.lianfang_hub("epoch", "status", town.hub).fields["epochs"]
    }
    assert states == {1: "in force", 2: "in force"}
    assert town.leaks(people.all) == []
