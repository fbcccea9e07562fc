"""Which library computes the group: the one that a process would choose, or libsodium alone.

    python -m clients.bench.backend MODULE ARGUMENTS...

runs one of our commands with libsodium alone, so that its figures can be measured on a
machine whose processor would have the faster kernel chosen.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum


class Library(StrEnum):
    """What the bench lets compute."""

    CHOSEN = "chosen"
    LIBSODIUM = "libsodium"


def command(library: Library, module: str, *arguments: str) -> list[str]:
    """Return the command line that runs one of our modules."""
    through = () if library is Library.CHOSEN else ("-m", __name__)
    head = [sys.executable, *through]
    return [*head, module, *arguments] if through else [*head, "-m", module, *arguments]


@contextmanager
def using(library: Library) -> Iterator[None]:
    """Let this process compute by that library inside the block."""
    from protocols.group import select  # noqa: PLC0415  the command line needs the names alone

    before = select.BACKENDS
    if library is Library.LIBSODIUM:
        _take_libsodium()
    select.load_group.cache_clear()
    try:
        yield
    finally:
        select.BACKENDS = before
        select.load_group.cache_clear()


def main() -> None:
    """Run the module that the command line names, with libsodium alone."""
    module, *arguments = sys.argv[1:]
    _take_libsodium()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _take_libsodium() -> None:
    from protocols.group import select  # noqa: PLC0415  see above
    from protocols.group.sodium import load_sodium  # noqa: PLC0415  see above

    select.BACKENDS = (load_sodium,)


if __name__ == "__main__":
    main()
