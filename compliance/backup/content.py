"""What of a directory goes into a backup, and how each file is read while programs write.

    second     the second place of the logs, first: a copy of it may never be ahead of the log
    plain      files that are replaced as a whole
    database   SQLite, by its own online copy
    journal    append-only, last: charges come before the entries that they pay for, so a copy
               holds every charge of every entry that it holds

A copy in this order is what a crash could have left: nothing in it is unpaid or unlogged.

Left out is what must not be used twice, or would speak against its own word:

    secrets of runs under way      one-time keys, sequence numbers, shares of a state
    keys and state of a witness    put back, it might cosign another history
    consents of second persons     they count once
    what Flower keeps, locks and drafts
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path

from compliance.frames import MAGIC as JOURNAL_MAGIC
from compliance.office.opening import SECOND

SQLITE_MAGIC = b"SQLite format 3\x00"
_LEFT_OUT_FOLDERS = {"flower", "bin"}
_LEFT_OUT = re.compile(
    r".*\.lock|lock|gate\.json|.*\.sqlite-(wal|shm|journal)|status\.json|progress\.json"
)
_ONCE = re.compile(
    r"runs/[^/]+/(ephemeral\.key|run\.key|announced\.json|checkpoint-[^/]*\.bin)"
    r"|keys/witness\.key|witness/.*|staff/consents\.journal"
)


class Way(IntEnum):
    """How a file is read, in the order in which this is done."""

    SECOND = 0
    PLAIN = 1
    DATABASE = 2
    JOURNAL = 3


def content_of(root: Path) -> list[tuple[Way, str]]:
    """Return the files of a directory that are backed up, in order."""
    found = [(_way(root / name, name), name) for name in _names(root, root)]
    return sorted((way, name) for way, name in found if way is not None)


def _names(root: Path, folder: Path) -> Iterator[str]:
    for path in folder.iterdir():
        name = path.relative_to(root).as_posix()
        if path.name.startswith(".") or (path.is_symlink() and not path.is_dir()):
            continue
        if path.is_dir():
            if path.name not in _LEFT_OUT_FOLDERS or folder != root:
                yield from _names(root, path)
        elif not _LEFT_OUT.fullmatch(path.name) and not _ONCE.fullmatch(name):
            yield name


def _way(path: Path, name: str) -> Way | None:
    try:
        with path.open("rb") as file:
            start = file.read(max(len(SQLITE_MAGIC), len(JOURNAL_MAGIC)))
    except FileNotFoundError:
        return None  # replaced or gone while we looked
    if name.startswith(f"{SECOND}/"):
        return Way.SECOND
    if start.startswith(SQLITE_MAGIC):
        return Way.DATABASE
    return Way.JOURNAL if start.startswith(JOURNAL_MAGIC) else Way.PLAIN
