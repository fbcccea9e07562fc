"""Publishing in the background: with quorum as the log grows, and saying so without."""

import time

import pytest

from compliance.errors import LogCorruptError
from compliance.log.yearly import YearlyLog
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.note import Note
from server.log.publishing import Publishing


@pytest.fixture
def publish(hub, town):
    """A publisher over the log of the present year, for tries one by one."""
    yearly = YearlyLog(hub.storage, "hub.example/audit", town.clock, lambda origin: hub.log)
    made = []

    def make(**fields):
        made.append(Publishing(yearly, hub.storage, hub.witnessing, clock=town.clock, **fields))
        return made[-1]

    yield make
    for publishing in made:
        publishing.stop()


def published_size(hub):
    data = hub.storage.checkpoint(hub.log.origin)
    return Checkpoint.parse(Note.decode(data).text).size if data else None


def wait_for(condition, limit_s=10.0):
    ends_at = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.01)


def test_state_says_whether_the_quorum_is_there(hub, town, links, publish):
    publishing = publish()
    assert not publishing.state().is_witnessed
    hub.append(3)
    assert publishing.publish()
    state = publishing.state()
    assert state.is_witnessed
    assert dict(state.sizes) == {hub.log.origin: 3}
    assert {str(item.standing) for item in state.witnesses} == {"cosigned"}
    links.cut = {"police", "telecom"}
    hub.append(2)
    town.clock.advance(10)
    assert not publishing.publish()
    town.clock.advance(10)
    assert not publishing.publish()
    state = publishing.state()
    assert not state.is_witnessed
    assert state.unwitnessed_since == town.clock.now() - 10
    assert "quorum" in state.text
    assert (dict(state.sizes), published_size(hub)) == ({hub.log.origin: 3}, 3)
    links.cut = set()
    assert publishing.publish()
    state = publishing.state()
    assert (state.is_witnessed, state.text, dict(state.sizes)) == (True, "", {hub.log.origin: 5})


def test_log_is_published_as_it_grows(hub, links, publish):
    publishing = publish(interval_s=0.02)
    publishing.start()
    for size in (1, 2, 3):
        hub.append(1)
        wait_for(lambda size=size: published_size(hub) == size)
    links.cut = {"police", "telecom"}
    hub.append(1)
    wait_for(lambda: not publishing.state().is_witnessed)
    links.cut = {"police"}
    wait_for(lambda: publishing.state().is_witnessed)
    publishing.stop()
    assert published_size(hub) == 4


def test_log_that_does_not_grow_shows_that_it_lives(hub, town, links, publish):
    publishing = publish(refresh_s=0.0)
    links.cut = {"telecom"}
    hub.append(3)
    assert publishing.publish()
    links.cut = set()
    town.clock.advance(3601)
    assert publishing.publish()
    for witness in town.witnesses.values():
        # The one that was away has caught up as well.
        seen = witness.store.latest(hub.log.origin)
        assert (seen.checkpoint.size, seen.at) == (3, town.clock.now())
        witness.watch()
        assert witness.alarms.open() == []


def test_unchanged_log_asks_nobody_until_then(hub, links, publish):
    publishing = publish()
    hub.append(3)
    assert publishing.publish()
    links.asked.clear()
    assert publishing.publish()
    assert links.asked == []


def test_corrupt_log_is_not_published_any_more(hub, publish):
    publishing = publish(interval_s=0.01)
    hub.append(3)
    assert publishing.publish()
    for path in hub.second._directory.glob("*.checkpoint"):
        path.unlink()
    publishing.start()
    wait_for(lambda: publishing.state().is_corrupt)
    publishing._thread.join(timeout=5)
    assert not publishing._thread.is_alive()
    assert not publishing.state().is_witnessed
    with pytest.raises(LogCorruptError):
        hub.append(1)


def test_alarm_of_a_witness_stands_in_the_state(make_hub, town, links, publish, hub):
    hub.append(9)
    links.cut = {"telecom"}
    assert publish().publish()
    branch = make_hub("branch", branch="branch")
    branch.append(4)
    links.cut = {"insurer", "police"}
    branch.witnessing.cosign(branch.log._sign()[0], lambda old: [])
    links.cut = set()
    hub.append(1)
    publishing = publish()
    assert publishing.publish()
    state = publishing.state()
    assert (state.is_witnessed, state.alarms) == (True, 1)
    assert {item.name: str(item.standing) for item in state.witnesses}["telecom"] == "doubts"
