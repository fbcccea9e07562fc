"""Searching a log for what an officer should look at, rule by rule, in one pass.

A finding is no verdict: it names entries, and the officer asks those who acted. One burst
is one finding, however many entries it has, from the first entry that counts towards it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from compliance.exports.rules import AnyRule, Backdated, By, Hours, Measure, Rate, Refused
from protocols.tlog.entry import Entry, Outcome

_HOUR_S, _DAY_S = 3_600, 86_400
Who = tuple[str, str]  # organisation, and pseudonym in hexadecimal or nothing


@dataclass(slots=True)
class Finding:
    """One thing to look at.

    Args:
        actor: a pseudonym that its organisation alone can resolve; empty if the rule is
            about organisations.
        value: what was reached; limit: what the rule allows.
        first, last: Unix seconds; first_entry, last_entry: indices in the log.
    """

    rule: str
    organisation: str
    actor: str
    value: float
    limit: float
    first: int
    last: int
    first_entry: int
    last_entry: int

    def fields(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


class _Watch(Protocol):
    """Follows one rule through a log."""

    def see(self, entry: Entry) -> None:
        """Take in the next entry that the rule looks at."""

    def findings(self) -> Iterator[Finding]:
        """Yield what was found; called once, at the end."""


def find_alarms(entries: Iterable[Entry], rules: Iterable[AnyRule]) -> list[Finding]:
    """Return all findings, by the entry with which they begin."""
    watches = [(rule, _watch(rule)) for rule in rules]
    for entry in entries:
        for rule, watch in watches:
            if rule.among.covers(entry):
                watch.see(entry)
    found = [item for _, watch in watches for item in watch.findings()]
    return sorted(found, key=lambda item: (item.first_entry, item.rule, item.actor))


def _watch(rule: AnyRule) -> _Watch:
    match rule:
        case Rate():
            return _RateWatch(rule)
        case Refused():
            return _RefusedWatch(rule)
        case Hours():
            return _HoursWatch(rule)
        case Backdated():
            return _BackdatedWatch(rule)


def _who(rule: AnyRule, entry: Entry) -> Who:
    return entry.organisation, entry.actor.hex() if rule.by is By.ACTOR else ""


def _begin(rule: AnyRule, who: Who, value: float, limit: float, entry: Entry) -> Finding:
    at, index = entry.time, entry.sequence
    return Finding(rule.id, *who, value, limit, at, at, index, index)


@dataclass(slots=True)
class _Window:
    """What one asker did within the window, and the burst that it is in."""

    acts: deque[tuple[int, int, int]] = field(default_factory=deque)  # time, index, weight
    total: int = 0
    burst: Finding | None = None


class _RateWatch:
    def __init__(self, rule: Rate) -> None:
        self._rule = rule
        self._windows: dict[Who, _Window] = {}
        self._found: list[Finding] = []

    def see(self, entry: Entry) -> None:
        rule, who = self._rule, _who(self._rule, entry)
        window = self._windows.setdefault(who, _Window())
        # Writers' clocks differ a little: time never runs backwards here.
        now = max(entry.time, window.acts[-1][0]) if window.acts else entry.time
        while window.acts and window.acts[0][0] <= now - rule.window_s:
            window.total -= window.acts.popleft()[2]
        weight = entry.count if rule.measure is Measure.ITEMS else 1
        window.acts.append((now, entry.sequence, weight))
        window.total += weight
        if window.total <= rule.most:
            window.burst = None
            return
        if window.burst is None:
            first, index, _ = window.acts[0]
            window.burst = Finding(rule.id, *who, 0, rule.most, first, now, index, index)
            self._found.append(window.burst)
        window.burst.value = max(window.burst.value, window.total)
        window.burst.last, window.burst.last_entry = now, entry.sequence

    def findings(self) -> Iterator[Finding]:
        yield from self._found


class _RefusedWatch:
    def __init__(self, rule: Refused) -> None:
        self._rule = rule
        self._windows: dict[tuple[Who, int], tuple[Finding, list[int]]] = {}

    def see(self, entry: Entry) -> None:
        who = _who(self._rule, entry)
        key = who, entry.time // self._rule.window_s
        if key not in self._windows:
            finding = _begin(self._rule, who, 0.0, self._rule.share, entry)
            self._windows[key] = finding, [0, 0]
        finding, counts = self._windows[key]
        finding.last, finding.last_entry = entry.time, entry.sequence
        counts[0] += 1
        counts[1] += entry.outcome is Outcome.REFUSED

    def findings(self) -> Iterator[Finding]:
        for finding, (acts, refused) in self._windows.values():
            finding.value = refused / acts
            if acts >= self._rule.least and finding.value > self._rule.share:
                yield finding


class _HoursWatch:
    def __init__(self, rule: Hours) -> None:
        self._rule = rule
        self._nights: dict[tuple[Who, int], Finding] = {}

    def see(self, entry: Entry) -> None:
        rule, local = self._rule, entry.time + self._rule.offset_s
        if rule.from_hour <= local % _DAY_S // _HOUR_S < rule.until_hour:
            return
        # What is before opening belongs to the night that began the day before.
        who, night = _who(rule, entry), (local - rule.from_hour * _HOUR_S) // _DAY_S
        if (who, night) not in self._nights:
            self._nights[who, night] = _begin(rule, who, 0, 0, entry)
        finding = self._nights[who, night]
        finding.value += 1
        finding.last, finding.last_entry = entry.time, entry.sequence

    def findings(self) -> Iterator[Finding]:
        yield from self._nights.values()


class _BackdatedWatch:
    def __init__(self, rule: Backdated) -> None:
        self._rule = rule
        self._latest = 0
        self._found: list[Finding] = []

    def see(self, entry: Entry) -> None:
        behind = self._latest - entry.time
        if behind > self._rule.most_s:
            who = _who(self._rule, entry)
            self._found.append(_begin(self._rule, who, behind, self._rule.most_s, entry))
        self._latest = max(self._latest, entry.time)

    def findings(self) -> Iterator[Finding]:
        yield from self._found
