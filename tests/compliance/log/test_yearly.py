"""One log a year: the clock decides, and every year's log is published."""

from datetime import UTC, datetime

from compliance.clock import FixedClock
from compliance.log.storage import Place
from compliance.log.yearly import YearlyLog, signer_of
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.policy import NONE, Log, Policy

PREFIX = "hub.example/audit"


def open_yearly(world, clock):
    def open_log(origin):
        signer = signer_of(origin, world.signer)
        policy = Policy((Log(signer.key),), (), (), NONE)
        return world.open(signer=signer, policy=policy, cosign=lambda note, prove: [])

    return YearlyLog(world.storage, PREFIX, clock, open_log)


def published(notes):
    found = [Checkpoint.parse(note.text) for note in notes]
    return [(checkpoint.origin, checkpoint.size) for checkpoint in found]


def test_year_turns_with_the_clock(world, tools):
    clock = FixedClock(int(datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()))
    logs = open_yearly(world, clock)
    assert logs.append(tools.make_entry(0)) == Place(f"{PREFIX}/2026", 0)
    assert logs.append(tools.make_entry(1)) == Place(f"{PREFIX}/2026", 1)
    clock.advance(1)
    assert logs.append(tools.make_entry(2)) == Place(f"{PREFIX}/2027", 0)
    assert published(logs.checkpoint()) == [(f"{PREFIX}/2026", 2), (f"{PREFIX}/2027", 1)]
    # Only what has something new is published again, and the present year always.
    assert published(logs.checkpoint()) == [(f"{PREFIX}/2027", 1)]
    clock.advance(-1)
    assert logs.append(tools.make_entry(3)) == Place(f"{PREFIX}/2026", 2)


def test_restart_publishes_what_the_old_year_left(world, tools):
    clock = FixedClock(int(datetime(2026, 12, 31, tzinfo=UTC).timestamp()))
    open_yearly(world, clock).append(tools.make_entry(0))
    clock.advance(2 * 86_400)
    logs = open_yearly(world, clock)
    assert logs.origins() == [f"{PREFIX}/2026", f"{PREFIX}/2027"]
    assert published(logs.checkpoint()) == [(f"{PREFIX}/2026", 1), (f"{PREFIX}/2027", 0)]


def test_logs_of_other_names_are_left_alone(world, tools):
    for origin in (f"{PREFIX}/notes", "other.example/audit/2026", f"{PREFIX}/2026/x"):
        world.storage.register(origin)
    clock = FixedClock(tools.NOW)
    assert open_yearly(world, clock).origins() == [f"{PREFIX}/2026"]
