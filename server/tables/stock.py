"""One contributor's tables of one epoch in the hub's database, for workers without them.

    current                   the number of the version in force
    <version>.parts           sizes of the parts, by name: written when all of them are there
    <version>.<part>.<n>      a part, in pieces

A worker keeps what it has fetched as files (`server.tables.folder`) and reads those. Pieces of
a version that is not in force are leftovers of a publisher that died, and are given to nobody.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from server.keeping.shelves import Documents

PIECE_SIZE = 32 << 20
_CURRENT = "current"
_NUMBERED = re.compile(r"([1-9][0-9]{0,18})\.([a-z]+)(?:\.[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Stock:
    """The versions of one table in the database.

    Args:
        alone: keeps other publishers, of any process, from this table for the time of a block.
    """

    documents: Documents
    alone: Callable[[], AbstractContextManager[None]]

    def current(self) -> int:
        """Return the version in force, 0 if none was ever published."""
        return int(self.documents.get(_CURRENT) or 0)

    def keep(self, version: int, part: str, pieces: Iterator[bytes]) -> int:
        """Keep a part of a version that is not in force; returns its size."""
        size = 0
        for number, piece in enumerate(pieces):
            self.documents.put(f"{version}.{part}.{number}", piece)
            size += len(piece)
        return size

    def put_in_force(self, version: int, sizes: Mapping[str, int]) -> None:
        """Name the version in force; everything of it was kept before."""
        self.documents.put(f"{version}.parts", json.dumps(dict(sizes)).encode())
        self.documents.put(_CURRENT, str(version).encode())

    def fetch(self, version: int, part: str) -> Iterator[bytes]:
        """Give a part of a version in pieces.

        Raises:
            FileNotFoundError: it is not kept, or no longer; also in the middle.
        """
        kept = self.documents.get(f"{version}.parts")
        left = json.loads(kept).get(part) if kept is not None else None
        if left is None:
            raise FileNotFoundError(f"{version}.{part}")
        number = 0
        while left > 0:
            piece = self.documents.get(f"{version}.{part}.{number}")
            if piece is None or not 0 < len(piece) <= left:
                raise FileNotFoundError(f"{version}.{part}")
            yield piece
            number, left = number + 1, left - len(piece)

    def tidy(self, is_kept: Callable[[int, str], bool]) -> None:
        """Remove what is not kept; only by who is alone."""
        for name in self.documents.names():
            found = _NUMBERED.fullmatch(name)
            if found is not None and not is_kept(int(found[1]), found[2]):
                self.documents.delete(name)
