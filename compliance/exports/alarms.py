"""Searching a log for what an officer should look at, rule by rule, in one pass.

A finding is no verdict: it names entries, and the officer asks those who acted. One burst
is one finding, however many entries it has, from the first entry that counts towards it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from compliance.exports.finding import Finding, Seen, Who, begin
from compliance.exports.owner_alarms import CaselessWatch, DistinctWatch, UnfollowedWatch
from compliance.exports.rules import (
    AnyRule,
    Backdated,
    By,
    Caseless,
    Hours,
    Measure,
    Rate,
    Reach,
    Refused,
    Spread,
    Unfollowed,
)
from protocols.tlog.entry import Entry, Outcome

_HOUR_S, _DAY_S = 3_600, 86_400


class _Watch(Protocol):
    """Follows one rule through a log."""

    def see(self, seen: Seen) -> None:
        """Take in the next entry that the rule looks at."""

    def findings(self, now: int) -> Iterator[Finding]:
        """Yield what was found; called once, at the end."""


def find_alarms(
    entries: Iterable[Entry | Seen], rules: Iterable[AnyRule], *, now: int | None = None
) -> list[Finding]:
    """Return all findings, by the entry with which they begin.

    Args:
        entries: of one log, or of several in the order of time; with their private parts
            where they are the owner's.
        now: Unix seconds, for rules about what has not happened; else of the last entry.
    """
    watches = [(rule, _WATCHES[type(rule)](rule)) for rule in rules]
    latest = 0
    for item in entries:
        seen = item if isinstance(item, Seen) else Seen(item)
        latest = max(latest, seen.entry.time)
        for rule, watch in watches:
            if rule.covers(seen.entry):
                watch.see(seen)
    at = latest if now is None else now
    found = [item for _, watch in watches for item in watch.findings(at)]
    return sorted(found, key=lambda item: (item.log, item.first_entry, item.rule, item.actor))


def _who(rule: AnyRule, entry: Entry) -> Who:
    return entry.organisation, entry.actor.hex() if rule.by is By.ACTOR else ""


@dataclass(slots=True)
class _Window:
    """What one asker did within the window, and the burst that it is in."""

    acts: deque[tuple[int, Seen, int]] = field(default_factory=deque)  # time, entry, weight
    total: int = 0
    burst: Finding | None = None


class _RateWatch:
    def __init__(self, rule: Rate) -> None:
        self._rule = rule
        self._windows: dict[Who, _Window] = {}
        self._found: list[Finding] = []

    def see(self, seen: Seen) -> None:
        rule, entry = self._rule, seen.entry
        who = _who(rule, entry)
        window = self._windows.setdefault(who, _Window())
        # Writers' clocks differ a little: time never runs backwards here.
        now = max(entry.time, window.acts[-1][0]) if window.acts else entry.time
        while window.acts and window.acts[0][0] <= now - rule.window_s:
            window.total -= window.acts.popleft()[2]
        weight = entry.count if rule.measure is Measure.ITEMS else 1
        window.acts.append((now, seen, weight))
        window.total += weight
        if window.total <= rule.most:
            window.burst = None
            return
        if window.burst is None:
            window.burst = begin(rule.id, who, 0, rule.most, window.acts[0][1])
            self._found.append(window.burst)
        window.burst.value = max(window.burst.value, window.total)
        window.burst.extend(seen, now)

    def findings(self, now: int) -> Iterator[Finding]:  # noqa: ARG002  as the others
        yield from self._found


class _RefusedWatch:
    def __init__(self, rule: Refused) -> None:
        self._rule = rule
        self._windows: dict[tuple[Who, int], tuple[Finding, list[int]]] = {}

    def see(self, seen: Seen) -> None:
        entry = seen.entry
        who = _who(self._rule, entry)
        key = who, entry.time // self._rule.window_s
        if key not in self._windows:
            finding = begin(self._rule.id, who, 0.0, self._rule.share, seen)
            self._windows[key] = finding, [0, 0]
        finding, counts = self._windows[key]
        finding.extend(seen, entry.time)
        counts[0] += 1
        counts[1] += entry.outcome is Outcome.REFUSED

    def findings(self, now: int) -> Iterator[Finding]:  # noqa: ARG002  as the others
        for finding, (acts, refused) in self._windows.values():
            finding.value = refused / acts
            if acts >= self._rule.least and finding.value > self._rule.share:
                yield finding


class _HoursWatch:
    def __init__(self, rule: Hours) -> None:
        self._rule = rule
        self._nights: dict[tuple[Who, int], Finding] = {}

    def see(self, seen: Seen) -> None:
        rule, entry = self._rule, seen.entry
        local = entry.time + self._rule.offset_s
        if rule.from_hour <= local % _DAY_S // _HOUR_S < rule.until_hour:
            return
        # What is before opening belongs to the night that began the day before.
        who, night = _who(rule, entry), (local - rule.from_hour * _HOUR_S) // _DAY_S
        if (who, night) not in self._nights:
            self._nights[who, night] = begin(rule.id, who, 0, 0, seen)
        finding = self._nights[who, night]
        finding.value += 1
        finding.extend(seen, entry.time)

    def findings(self, now: int) -> Iterator[Finding]:  # noqa: ARG002  as the others
        yield from self._nights.values()


class _BackdatedWatch:
    def __init__(self, rule: Backdated) -> None:
        self._rule = rule
        self._latest = 0
        self._found: list[Finding] = []

    def see(self, seen: Seen) -> None:
        entry = seen.entry
        behind = self._latest - entry.time
        if behind > self._rule.most_s:
            who = _who(self._rule, entry)
            limit = self._rule.most_s
            self._found.append(begin(self._rule.id, who, behind, limit, seen))
        self._latest = max(self._latest, entry.time)

    def findings(self, now: int) -> Iterator[Finding]:  # noqa: ARG002  as the others
        yield from self._found


_WATCHES: dict[type, Callable[[Any], _Watch]] = {
    Rate: _RateWatch,
    Refused: _RefusedWatch,
    Hours: _HoursWatch,
    Backdated: _BackdatedWatch,
    Spread: DistinctWatch,
    Reach: DistinctWatch,
    Caseless: CaselessWatch,
    Unfollowed: UnfollowedWatch,
}
