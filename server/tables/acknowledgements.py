"""Who has acknowledged which version of one contributor's table, on disk.

    <epoch>/<contributor>/acknowledgements/<reader>.signed   the newest of each reader
    .../acknowledgements/lock                                held while one is kept

A file is replaced as a whole and durably, and never by one of an older version: what a reader
has said it cannot take back, and sending it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from compliance.files import write_atomically
from protocols.lookup.acknowledgement import SignedAcknowledgement
from server.tables.folder import Folder

FOLDER = "acknowledgements"
_SUFFIX = ".signed"


class Acknowledgements:
    """Those of one contributor in one epoch; for any number of threads and processes."""

    def __init__(self, folder: Folder) -> None:
        self._folder = Folder(folder.path / FOLDER)

    def keep(self, signed: SignedAcknowledgement, *, enter: Callable[[], object]) -> bool:
        """Keep a statement that was verified; returns whether it says more than was known.

        Args:
            enter: makes a durable note of it, before it is kept; also when it is repeated.
        """
        with self._folder.locked():
            known = self._read(self._file(signed.statement.reader))
            newest = 0 if known is None else known.statement.version
            if newest > signed.statement.version:
                return False
            enter()
            if newest == signed.statement.version:
                return False
            write_atomically(self._file(signed.statement.reader), signed.encode())
            return True

    def all(self) -> list[SignedAcknowledgement]:
        """Return the newest of every reader, by name."""
        found = [self._read(path) for path in sorted(self._folder.path.glob(f"*{_SUFFIX}"))]
        return [signed for signed in found if signed is not None]

    def _file(self, reader: str) -> Path:
        return self._folder.path / f"{reader}{_SUFFIX}"

    @staticmethod
    def _read(path: Path) -> SignedAcknowledgement | None:
        try:
            return SignedAcknowledgement.decode(path.read_bytes())
        except FileNotFoundError:
            return None
