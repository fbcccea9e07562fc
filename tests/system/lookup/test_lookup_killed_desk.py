"""Kill -9 of a desk in the middle of a screening.

The desk's own command runs in a process that kills itself at one exact place. Given again,
it ends with the result of an undisturbed screening, and every customer was charged once in
every book. Only one holder beside the hub is up, so that both must answer every request.
"""

import signal

import pytest

PLACES = [
    ("clients.lookup.queries:QueryStore.add", "before", 2),
    ("clients.lookup.queries:QueryStore.add", "after", 3),
    ("clients.lookup.api:HubApi.evaluate", "after", 4),
    ("clients.lookup.sealed:SealedRows._write", "torn", 5),
    ("clients.lookup.cache:OutputCache.add", "after", 6),
    ("clients.lookup.queries:QueryStore.settle", "after", 15),
    ("clients.desk.before:LastLights.exchange", "after", 1),
    ("clients.desk.screening:_write", "before", 1),
]


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES, ids=str)
def test_killed_desk_resumes(make_town, check_end, people, place):
    town = make_town("killed", ("telecom",))
    assert town.screen(place).wait(60) == -signal.SIGKILL
    assert not town.data("insurer", "lights.csv").exists()
    assert town.used("hub") <= len(people.all)
    town.screen_on()
    check_end(town)
    town.place.stop()
