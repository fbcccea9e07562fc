"""Holding a directory of files alone, over reading and replacing one of them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compliance.files import DIRECTORY_MODE, FILE_MODE


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock file alone, among threads and processes; a killed process lets go.

    The lock is not the file that is replaced: whoever waits would then hold the old one.
    Not to be taken twice by one thread.
    """
    path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
