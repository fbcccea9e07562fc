"""One desk for all who sit at a console, in a thread of its own; opened at the first check."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from clients.desk.desk import Desk, Finding
from compliance.clock import Clock
from compliance.policy.actors import Principal
from protocols.identifiers import IdentifierKind
from protocols.lookup.request import Purpose


@dataclass(frozen=True, slots=True)
class Question:
    """Whom a clerk asks about, for what, and who the clerk is."""

    identifiers: Sequence[tuple[IdentifierKind, str]] = field(repr=False)
    purpose: Purpose
    case: str = field(repr=False)
    by: Principal
    glass_broken: bool


class Counter:
    """Asks a desk on behalf of any number of threads; a desk is for one.

    Args:
        directory: of the node.
    """

    def __init__(self, directory: Path, *, clock: Clock) -> None:
        self._directory, self._clock = directory, clock
        self._thread = ThreadPoolExecutor(1, "desk")
        self._desk: Desk | None = None

    def close(self) -> None:
        """Wait for the check that is under way, and give the desk back."""
        self._thread.submit(self._close).result()
        self._thread.shutdown()

    def check(self, question: Question) -> Finding:
        """Return a light, as `Desk.check`.

        Raises:
            ConfigError: the desk cannot be opened. Else as `Desk.check`.
        """
        return self._thread.submit(self._check, question).result()

    def _check(self, question: Question) -> Finding:
        if self._desk is None:
            self._desk = Desk(self._directory, clock=self._clock)
        return self._desk.check(
            question.identifiers,
            purpose=question.purpose,
            case=question.case,
            channel="console",
            by=question.by,
            glass_broken=question.glass_broken,
        )

    def _close(self) -> None:
        if self._desk is not None:
            self._desk.close()
            self._desk = None
