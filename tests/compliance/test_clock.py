"""Clocks tell whole seconds; the fixed one stands."""

from compliance.clock import FixedClock, SystemClock


def test_fixed_clock_stands_until_moved():
    clock = FixedClock(100)
    assert (clock.now(), clock.now()) == (100, 100)
    clock.advance(-30)
    assert clock.now() == 70


def test_system_clock_tells_whole_seconds():
    first = SystemClock().now()
    assert isinstance(first, int)
    assert first <= SystemClock().now()
