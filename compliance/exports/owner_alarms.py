"""The rules that only the owner of a log can ask: over subjects and cases of its private parts.

A subject or a case stands in memory while the search runs, and in no finding. An entry whose
part was erased, or is kept elsewhere, is passed over: of it nothing is known any more.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from compliance.exports.finding import Finding, Seen, Who, begin
from compliance.exports.rules import By, Caseless, Link, Reach, Rule, Spread, Unfollowed
from protocols.tlog.private import PrivatePart

_DAY_S = 86_400


@dataclass(slots=True)
class _Window:
    """What lies within the window for one key, and the burst that it is in."""

    acts: deque[tuple[int, Seen, str]] = field(default_factory=deque)  # time, entry, value
    values: Counter[str] = field(default_factory=Counter)
    burst: Finding | None = None

    def forget(self, until: int) -> None:
        """Let go of what is not later than a time."""
        while self.acts and self.acts[0][0] <= until:
            _, _, value = self.acts.popleft()
            self.values[value] -= 1
            if not self.values[value]:
                del self.values[value]


class DistinctWatch:
    """Counts how many different actors, or subjects, there are within a sliding window."""

    def __init__(self, rule: Spread | Reach) -> None:
        self._rule = rule
        self._windows: dict[tuple[str, ...], _Window] = {}
        self._found: list[Finding] = []

    def see(self, seen: Seen) -> None:
        """Take in the next entry; one that is about nobody counts nowhere."""
        part = seen.part
        if part is None or not part.subject:
            return
        rule, entry = self._rule, seen.entry
        who = _who(rule, seen)
        actor = entry.actor.hex()
        spread = isinstance(rule, Spread)
        key, value = ((*who, part.subject), actor) if spread else (who, part.subject)
        window = self._windows.setdefault(key, _Window())
        # Writers' clocks differ a little: time never runs backwards here.
        now = max(entry.time, window.acts[-1][0]) if window.acts else entry.time
        window.forget(now - rule.window_s)
        window.acts.append((now, seen, value))
        window.values[value] += 1
        if len(window.values) <= rule.most:
            window.burst = None
            return
        if window.burst is None:
            window.burst = begin(rule.id, who, 0, rule.most, window.acts[0][1])
            self._found.append(window.burst)
        window.burst.value = max(window.burst.value, len(window.values))
        window.burst.extend(seen, now)

    def findings(self, now: int) -> Iterator[Finding]:  # noqa: ARG002  as the others
        """Yield every burst."""
        yield from self._found


class CaselessWatch:
    """Gathers the acts of a day behind which there is no case."""

    def __init__(self, rule: Caseless) -> None:
        self._rule = rule
        self._days = _Days(rule)

    def see(self, seen: Seen) -> None:
        """Take in the next entry."""
        if (part := seen.part) is not None and not part.case.strip():
            self._days.add(seen)

    def findings(self, now: int) -> Iterator[Finding]:  # noqa: ARG002  as the others
        """Yield one finding for each day."""
        yield from self._days.found()


class UnfollowedWatch:
    """Waits for what has to come after an act; the acts of a day that waited in vain are one."""

    def __init__(self, rule: Unfollowed) -> None:
        self._rule = rule
        self._waiting: dict[tuple[str, str], list[Seen]] = {}
        self._late: list[Seen] = []

    def see(self, seen: Seen) -> None:
        """Take in the next entry; one that is linked to nothing can be followed by nothing."""
        rule = self._rule
        if (part := seen.part) is None:
            return
        key = seen.entry.organisation, _link(rule.link, part)
        if rule.then.covers(seen.entry) and key[1]:
            self._late += [
                item
                for item in self._waiting.pop(key, [])
                if seen.entry.time > item.entry.time + rule.within_s
            ]
        if rule.among.covers(seen.entry):
            self._waiting.setdefault(key, []).append(seen)

    def findings(self, now: int) -> Iterator[Finding]:
        """Yield what has waited for longer than the rule allows."""
        due = now - self._rule.within_s
        waiting = [item for items in self._waiting.values() for item in items]
        late = self._late + [item for item in waiting if item.entry.time < due]
        days = _Days(self._rule)
        for item in sorted(late, key=lambda item: (item.log, item.entry.sequence)):
            days.add(item)
        yield from days.found()


class _Days:
    """One finding for each day and actor, with the number of acts."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._found: dict[tuple[Who, int], Finding] = {}

    def add(self, seen: Seen) -> None:
        """Count one act."""
        key = _who(self._rule, seen), seen.entry.time // _DAY_S
        if key not in self._found:
            self._found[key] = begin(self._rule.id, key[0], 0, 0, seen)
        self._found[key].value += 1
        self._found[key].extend(seen, seen.entry.time)

    def found(self) -> Iterator[Finding]:
        """Yield the findings."""
        yield from self._found.values()


def _who(rule: Rule, seen: Seen) -> Who:
    return seen.entry.organisation, seen.entry.actor.hex() if rule.by is By.ACTOR else ""


def _link(link: Link, part: PrivatePart) -> str:
    return part.case if link is Link.CASE else part.subject
