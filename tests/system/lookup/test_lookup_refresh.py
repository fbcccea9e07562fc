"""Shares that are refreshed and tables that are published while a party dies."""

import signal

import pytest

SETUPS = "compliance.evaluations.setups:KeySetups"
STORE = "compliance.evaluations.store:EpochStore"
BEFORE_ALL_SIGNED = [(f"{SETUPS}.sign", "after", 1)]
ALL_SIGNED = [
    (f"{SETUPS}.activate", "before", 1),
    (f"{STORE}._promote", "after", 1),
    (f"{STORE}._clear_former", "before", 1),
    (f"{SETUPS}.activate", "after", 1),
]


@pytest.fixture
def town(make_town):
    made = make_town("epochs")
    yield made
    made.place.stop()


@pytest.mark.slow
@pytest.mark.parametrize("place", BEFORE_ALL_SIGNED + ALL_SIGNED, ids=str)
def test_holder_killed_during_a_refresh_goes_on(town, people, place):
    assert town.check(people.red[0]).fields["light"] == "red"
    telecom = town.hold_again("telecom", place)
    is_signed = place in ALL_SIGNED
    town.refresh(code=0 if is_signed else 1)
    assert telecom.wait(10) == -signal.SIGKILL
    # The others answer meanwhile, under whichever shares are in use.
    assert town.check(people.red[1]).fields["light"] == "red"
    town.hold("telecom")
    if not is_signed:
        assert town.newest() == (0, "in force", [])
        town.refresh()
    town.until(lambda: town.newest() == (1, "in force", []))
    only_telecom = town.place.started[1]
    only_telecom.terminate()
    only_telecom.wait()
    assert town.check(people.red[2]).fields["light"] == "red"
    # Roots are of the key, which a refresh keeps: nobody is asked for anew.
    assert "/" not in town.check(people.red[0]).fields["receipt"]
    assert town.used("hub") == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "place",
    [
        ("server.epochs.begin:_collect", "after", 1),
        (f"{STORE}._promote", "after", 1),
        (f"{STORE}._clear_former", "before", 1),
    ],
    ids=str,
)
def test_hub_killed_during_a_refresh_goes_on(town, people, place):
    hub = town.place.started[0]
    hub.terminate()
    assert hub.wait(10) == 0
    hub = town.serve(place)
    town.connected("police", "telecom")
    town.refresh(code=1)
    assert hub.wait(10) == -signal.SIGKILL
    town.serve()
    town.connected("police", "telecom")
    found, state, _ = town.newest()
    assert state == "in force"
    assert town.check(people.red[0]).fields["light"] == "red"
    town.refresh()
    town.until(lambda: town.newest() == (found + 1, "in force", []))
    assert town.check(people.red[1]).fields["light"] == "red"
    assert town.used("hub") == 2


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_hub_killed_while_a_table_is_published_has_the_one_or_the_other(
    town, people, numbers, when
):
    (person,) = numbers(1, seed=99)
    reports = town.data("police", "reports.csv")
    reports.write_text(f"{reports.read_text()}\npolice-900,tw_national_id,{person},investment,"
                       "confirmed,suspect," + reports.read_text().rsplit(",", 1)[1])  # fmt: skip
    assert town.check(person).fields["light"] == "green"
    hub = town.place.started[0]
    hub.terminate()
    hub.wait()
    hub = town.serve(("server.tables.folder:Folder.put_in_force", when, 1))
    town.connected("police", "telecom")
    assert "cannot be reached" in town.publish("police", code=1).err
    assert hub.wait(10) == -signal.SIGKILL
    status = town.lianfang("feed", "status", town.node("police")).fields
    assert (status["version"], status["pending_version"]) == (1, 2)
    town.serve()
    town.connected("police", "telecom")
    published = town.publish("police").fields
    assert (published["state"], published["version"], published["records"]) == ("published", 2, 161)
    town.lianfang("desk", "sync", town.node("insurer"))
    assert town.check(person).fields["light"] == "red"
    assert town.check(people.green[0]).fields["light"] == "green"
    assert town.used("hub", asker="police") == 161
    assert town.leaks([*people.all, person]) == []
