"""What time it is, as an object that is passed in and never read from the air."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Tells the time in whole Unix seconds; it may stand still and may be set back."""

    def now(self) -> int:
        """Return Unix seconds."""
        ...


class SystemClock:
    """The clock of the operating system."""

    def now(self) -> int:
        """Return Unix seconds."""
        return int(time.time())


@dataclass(slots=True)
class FixedClock:
    """Stands where it is put, until it is moved."""

    seconds: int

    def now(self) -> int:
        """Return the seconds it was put to."""
        return self.seconds

    def advance(self, seconds: int) -> None:
        """Move on, or back with a negative number."""
        self.seconds += seconds
