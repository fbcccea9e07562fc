"""Memory of a process that serves for months: it stays as large as it is after a minute.

Threads of one process draw from heaps of their own (glibc: up to eight for each core), and each
heap grows to the most that was ever needed in it; a hub grew for as long as it was watched. Two
heaps are enough where one thread at a time runs Python.

The collector of cyclic garbage stops every thread while it looks through all objects, for a
tenth of a second in a hub that has loaded its libraries. None of those will ever be garbage:
they are set aside, and it looks through what lookups leave behind alone.
"""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress
from typing import Final

HEAPS: Final = 2
_M_ARENA_MAX: Final = -8  # malloc.h of glibc; see mallopt(3)


def share_heaps() -> None:
    """Let all threads draw from a few heaps; before any is started. Nothing without glibc."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, HEAPS)


def settle_memory() -> None:
    """Set aside what is there; once, by a program that has started and has its work before it."""
    gc.collect()
    gc.freeze()
