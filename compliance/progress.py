"""A bar on standard error while much is done; none where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_WIDTH = 32


@contextmanager
def progress_bar(label: str, *, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """Give a function that is told how much is done, and of how much."""
    if not shown or not sys.stderr.isatty():
        yield lambda _done, _whole: None
        return
    last = -1

    def draw(done: int, whole: int) -> None:
        nonlocal last
        filled = min(_WIDTH, _WIDTH * done // max(whole, 1))
        if filled != last:
            last = filled
            drawn = "#" * filled + "-" * (_WIDTH - filled)
            sys.stderr.write(f"\r{label} [{drawn}] {done:,} of {whole:,}")
            sys.stderr.flush()

    try:
        yield draw
    finally:
        if last >= 0:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
