"""Memory of a process that has started: what is there by then stays, and is looked through no more.

The collector of cyclic garbage stops every thread while it looks through all objects, for a
tenth of a second in a hub that has loaded its libraries. None of those will ever be garbage:
they are set aside, and it looks through what lookups leave behind alone.
"""

from __future__ import annotations

import gc


def settle_memory() -> None:
    """Set aside what is there; once, by a program that has started and has its work before it."""
    gc.collect()
    gc.freeze()
