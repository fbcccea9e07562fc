"""Waits are short while a run is on and long when there is none."""

from clients.node.pace import LASTS_S, Pace
from clients.node.supernode_process import NOTHING_S, sleeping


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self):
        self.now = 0.0
        self.waits = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.waits.append(seconds)
        self.now += seconds


def test_waits_grow_again_some_time_after_the_last_thing_was_done():
    clock = Clock()
    pace = Pace(0.25, 2.0, clock=clock, sleep=clock.sleep)
    pace.wait(3)
    pace.note()
    while clock.waits[-1] != 2.0 or len(clock.waits) == 1:
        pace.wait(3)
    assert clock.waits[0] == 2.0
    assert set(clock.waits[1:-1]) == {0.25}
    assert sum(clock.waits[1:-1]) == LASTS_S


def test_wait_is_never_longer_than_was_asked_for():
    clock = Clock()
    Pace(0.25, 2.0, clock=clock, sleep=clock.sleep).wait(0.1)
    assert clock.waits == [0.1]


def test_waiting_for_a_launcher_makes_the_next_questions_quick():
    clock = Clock()
    sleep = sleeping(Pace(0.25, 2.0, clock=clock, sleep=clock.sleep))
    sleep(NOTHING_S)
    sleep(0.5)
    sleep(NOTHING_S)
    assert clock.waits == [2.0, 0.25, 0.25]
