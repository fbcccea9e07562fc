"""Who has acknowledged which version of one contributor's table.

    <epoch>/<contributor>/<reader>.signed   the newest of each reader, on a shelf

A statement is replaced as a whole and durably, and never by one of an older version: what a
reader has said it cannot take back, and sending it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from compliance.shelf import Shelf
from protocols.lookup.acknowledgement import SignedAcknowledgement

_SUFFIX = ".signed"


@dataclass(frozen=True, slots=True)
class Acknowledgements:
    """Those of one contributor in one epoch; for any number of threads and processes.

    Args:
        folder: on the shelf.
        alone: keeps all others from this folder for the time of a block.
    """

    shelf: Shelf
    folder: str
    alone: Callable[[], AbstractContextManager[None]]

    def keep(self, signed: SignedAcknowledgement, *, enter: Callable[[], object]) -> bool:
        """Keep a statement that was verified; returns whether it says more than was known.

        Args:
            enter: makes a durable note of it, before it is kept; also when it is repeated.
        """
        with self.alone():
            known = self._read(self._name(signed.statement.reader))
            newest = 0 if known is None else known.statement.version
            if newest > signed.statement.version:
                return False
            enter()
            if newest == signed.statement.version:
                return False
            self.shelf.put(self._name(signed.statement.reader), signed.encode())
            return True

    def all(self) -> list[SignedAcknowledgement]:
        """Return the newest of every reader, by name."""
        names = [name for name in self.shelf.names(self.folder) if name.endswith(_SUFFIX)]
        found = [self._read(name) for name in names]
        return [signed for signed in found if signed is not None]

    def _name(self, reader: str) -> str:
        return f"{self.folder}/{reader}{_SUFFIX}"

    def _read(self, name: str) -> SignedAcknowledgement | None:
        data = self.shelf.get(name)
        return None if data is None else SignedAcknowledgement.decode(data)
