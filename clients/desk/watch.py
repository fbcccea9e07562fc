"""The desk's memory of what it asked lately, so that slow enumeration is seen too.

    desk/window.sealed   the last identifiers that were asked of the holders, sealed

One check asks for a handful of numbers; two hundred checks in a row that walk through a
range are what the watch is for. The window holds a thousand identifiers and forgets older
ones. It is a sealed file because it names people.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TypeAlias

from clients.desk.ranges import DenseRange, find_dense
from clients.lookup.alarms import Alarm, AlarmKind, Alarms
from clients.lookup.secrets import (
    CACHE_KEY,
    Random,
    SealBrokenError,
    derive_key,
    keep_secret,
    seal,
    unseal,
)
from clients.node.files import exclusive, make_private_directory
from clients.node.home import Home
from protocols.codec import Reader, Writer
from protocols.errors import MalformedMessageError

WINDOW = 1000
_Stamp: TypeAlias = tuple[int, int, int] | None
ALARMS = "desk/alarms.journal"
_NAME = b"window/v1"


class Watch:
    """Looks at identifiers before they are blinded, and raises alarms of one desk."""

    def __init__(self, home: Home, random: Random) -> None:
        self._folder = make_private_directory(home.root / "desk")
        self._key = derive_key(keep_secret(home.keys / CACHE_KEY, random), _NAME)
        self._random = random
        # The window as it was read or written last, and the file that it stands in.
        self._known: tuple[_Stamp, list[bytes]] | None = None
        self.alarms = Alarms(home.root / ALARMS)

    def close(self) -> None:
        """Give the files back."""
        self.alarms.close()

    def look(self, canonical: Sequence[bytes], *, now: int, subject: str) -> DenseRange | None:
        """Judge a customer's identifiers with those asked lately; alarm if they are dense.

        Identifiers that complete a dense range are not remembered: the next of the range
        alarms again, and the next innocent customer does not.
        """
        with exclusive(self._folder):
            asked = list(dict.fromkeys([*self._window(), *canonical]))
            dense = find_dense(asked)
            if dense is None:
                self._store(asked[-WINDOW:])
        self._tell(dense, now, subject)
        return dense

    def look_at_batch(
        self, canonical: Sequence[bytes], *, now: int, subject: str
    ) -> DenseRange | None:
        """Judge a batch by itself, and raise an alarm if it is dense."""
        dense = find_dense(canonical)
        self._tell(dense, now, subject)
        return dense

    def count(self, canonical: Collection[bytes]) -> int:
        """Return how many of these identifiers are remembered."""
        return len(set(canonical) & set(self._window()))

    def forget(self, canonical: Collection[bytes]) -> int:
        """Take identifiers out of the memory; returns how many there were."""
        with exclusive(self._folder):
            window = self._window()
            kept = [item for item in window if item not in canonical]
            if len(kept) < len(window):
                self._store(kept)
        return len(window) - len(kept)

    def note_canary(self, contributor: str, *, now: int, subject: str) -> None:
        """Raise an alarm: an identifier was asked for that belongs to nobody."""
        text = f"a canary of {contributor} was asked for: find out who chose this identifier"
        self.alarms.raise_alarm(Alarm(AlarmKind.CANARY, now, subject, text))

    def _tell(self, dense: DenseRange | None, now: int, subject: str) -> None:
        if dense is not None:
            self.alarms.raise_alarm(Alarm(AlarmKind.DENSE_RANGE, now, subject, dense.text))

    def _window(self) -> list[bytes]:
        path = self._folder / "window.sealed"
        known, stamp = self._known, _stamp(path)
        if known is not None and known[0] == stamp:
            return known[1]
        try:
            reader = Reader(unseal(self._key, path.read_bytes(), _NAME, path.name), "window")
            found = [reader.block() for _ in range(reader.u32())]
        except (FileNotFoundError, SealBrokenError, MalformedMessageError):
            # A window that is gone or torn only makes the watch forget.
            return []
        # Another process may have written in between: what was read counts for the file as it
        # is only if the file is still the one that it was before.
        self._known = (stamp, found) if _stamp(path) == stamp else None
        return found

    def _store(self, asked: list[bytes]) -> None:
        out = Writer().u32(len(asked))
        for item in asked:
            out.block(item)
        draft = self._folder / ".window.sealed"
        draft.touch(mode=0o600)
        draft.write_bytes(seal(self._key, out.encode(), _NAME, self._random))
        self._known = (_stamp(draft), asked)
        draft.replace(self._folder / "window.sealed")


def _stamp(path: Path) -> _Stamp:
    """Return what is another once the file is another; none where there is no file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
