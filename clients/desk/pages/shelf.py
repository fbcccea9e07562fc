"""Findings for as long as the clerk who asked looks at them; kept in memory alone.

A light is shown at an address of its own, so that a page which is loaded again asks nobody
again, and the address names nobody. What is forgotten here stands in the desk's journal.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from clients.desk.desk import Finding
from protocols.identifiers import IdentifierKind
from protocols.lookup.request import Purpose

KEPT_S = 900
_MOST = 2_000


@dataclass(frozen=True, slots=True)
class Shown:
    """A finding, and what was asked; without the identifier.

    Args:
        account: who asked; nobody else is shown it.
    """

    finding: Finding
    kind: IdentifierKind
    purpose: Purpose
    case: str = field(repr=False)
    account: str = field(repr=False)


class Shelf:
    """The findings of one console, by their numbers; for any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, tuple[int, Shown]] = OrderedDict()

    def put(self, shown: Shown, now: int) -> int:
        """Keep a finding; returns its number."""
        number = shown.finding.number
        with self._lock:
            self._kept[number] = now, shown
            self._forget(now)
        return number

    def find(self, number: int, account: str, now: int) -> Shown | None:
        """Return a finding to the one who asked; None if it is another's, or forgotten."""
        with self._lock:
            self._forget(now)
            _, shown = self._kept.get(number, (0, None))
        return shown if shown is not None and shown.account == account else None

    def _forget(self, now: int) -> None:
        while self._kept:
            at, _ = next(iter(self._kept.values()))
            if at + KEPT_S > now and len(self._kept) <= _MOST:
                return
            self._kept.popitem(last=False)
