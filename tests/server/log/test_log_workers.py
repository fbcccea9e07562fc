"""Two workers with directories of their own on one log in PostgreSQL."""

import shutil
import threading
import time

import pytest

from compliance.errors import LogCorruptError
from compliance.log.second import FileCheckpoints
from compliance.office.about import About
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.entry import Entry, Verb
from protocols.tlog.note import Note
from server.home import HubHome
from server.log.opening import open_log
from server.standing.registry import Standing

ACTS = 24


@pytest.fixture
def homes(tmp_path, postgres):
    """A hub, and a copy of its directory from just after it was made."""
    made = HubHome(tmp_path / "hub")
    made.create(
        name="fraud-hub", host="127.0.0.1", link_port=0, fleet_port=0, api_port=0,
        now=int(time.time()), database=postgres(),
    )  # fmt: skip
    open_log(made).close()
    shutil.copytree(made.root, tmp_path / "copy")
    return made, HubHome(tmp_path / "copy")


@pytest.fixture
def logs(homes):
    first, second = (open_log(home, links=Standing()) for home in homes)
    yield first, second
    first.close()
    second.close()


def enter(log, number):
    """Enter that somebody asked to join, once however often it is said; it is refused here."""
    about = About(
        Verb.ALTER, "partners", recipients=("police",), subject=f"join {number}", once=True
    )
    decision = log.office.decide("join", by=log.office.party("police"))
    return log.office.enter(decision, about, is_new=True)


def entries(log):
    origin = log.yearly.origin()
    size = log.storage.edge(origin).size
    return [Entry.decode(item) for item in log.storage.entries(origin, 0, size)]


def size_of(data):
    return Checkpoint.parse(Note.decode(data).text).size


def until(condition, timeout_s=20):
    ends_at = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.05)


def test_same_act_at_both_at_once_is_entered_once(logs):
    places = {}

    def work(log, name):
        for number in range(ACTS):
            places[name, number] = enter(log, number)

    threads = [
        threading.Thread(target=work, args=(log, (at, turn)))
        for at, log in enumerate(logs)
        for turn in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entries(logs[0])) == ACTS
    assert all(len({places[key] for key in places if key[1] == n}) == 1 for n in range(ACTS))


def test_one_publishes_and_the_other_goes_on_when_it_ends(logs):
    first, second = logs
    origin = first.yearly.origin()
    first.publishing.start()
    enter(first, 1)
    until(lambda: first.publishing.state().published_at)
    second.publishing.start()
    enter(second, 2)
    until(lambda: size_of(first.storage.checkpoint(origin)) == 2)
    # What the one that does not publish tells is what the other has told it.
    assert second.publishing.state().published_at
    assert not second.publishing.state().text
    first.publishing.stop()
    enter(second, 3)
    until(lambda: size_of(second.storage.checkpoint(origin)) == 3)


def test_second_place_of_a_worker_follows_what_the_other_published(homes):
    with open_log(homes[0], links=Standing()) as first:
        for number in range(5):
            enter(first, number)
            assert first.publishing.publish()
        origin = first.yearly.origin()
        published = first.storage.checkpoint(origin)
    with open_log(homes[1], links=Standing()) as second:
        assert size_of(FileCheckpoints(homes[1].root / "log-second").load(origin)) == 5
        enter(second, 9)
        assert second.publishing.publish()
        assert size_of(second.storage.checkpoint(origin)) == 6 > size_of(published)


def test_second_place_that_was_lost_is_told(homes):
    with open_log(homes[0], links=Standing()) as first:
        enter(first, 1)
        assert first.publishing.publish()
    shutil.rmtree(homes[1].root / "log-second")
    with pytest.raises(LogCorruptError, match="second place"):
        open_log(homes[1])
