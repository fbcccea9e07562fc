"""Find the rows that a delta changes, and write the table that results, piece by piece.

Work and memory depend on the piece and on the number of changes: the old table is read
once, from front to back, and the new one is never in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from protocols.lookup.derivation import TAG_SIZE
from protocols.lookup.record import NONCE_SIZE, RECORD_SIZE
from protocols.lookup.table import CHUNK, first_rows, is_at, joined_words, locate, tag_words

if TYPE_CHECKING:
    from typing_extensions import Buffer  # in collections.abc from Python 3.12 on

Rows = NDArray[np.void]  # whole records: numpy moves them as units
_ROW = np.dtype(("V", RECORD_SIZE))


@dataclass(frozen=True, slots=True)
class Changes:
    """Where a table changes.

    Args:
        old: the rows of the table; `new`: the rows to put in, in order.
        at: for each new row, the old row before which it stands; rising, equal for several.
        dropped: old rows that are removed or replaced, rising.
        missing: how many tags to be removed are not there.
        reused_nonces: how many new rows differ from the row they replace, but not in the nonce.
    """

    old: Rows
    new: Rows
    at: NDArray[np.int64]
    dropped: NDArray[np.int64]
    missing: int
    reused_nonces: int

    @property
    def count(self) -> int:
        """How many records result."""
        return len(self.old) - len(self.dropped) + len(self.new)

    def merged(self) -> Iterator[bytes]:
        """Yield the resulting table in pieces of at most `CHUNK` old and `CHUNK` new rows."""
        row, taken = 0, 0
        while row < len(self.old) or taken < len(self.new):
            end = min(row + CHUNK, len(self.old))
            # New rows that stand behind the last old row belong to the last piece.
            last = len(self.new) if end == len(self.old) else int(np.searchsorted(self.at, end))
            if last - taken > CHUNK:
                # All old rows before the last new row of the piece, and not the one after it.
                last = taken + CHUNK
                end = int(self.at[last - 1])
            # Nothing is left of a piece whose rows are all removed.
            if piece := self._piece(row, end, taken, last):
                yield piece
            row, taken = end, last

    def _piece(self, row: int, end: int, taken: int, last: int) -> bytes:
        dropped = self.dropped[slice(*np.searchsorted(self.dropped, (row, end)))]
        if taken == last and not len(dropped):
            return self.old[row:end].tobytes()
        is_kept = np.ones(end - row, np.bool_)
        is_kept[dropped - row] = False
        kept_before = np.append(0, np.cumsum(is_kept))
        places = kept_before[self.at[taken:last] - row] + np.arange(last - taken)
        piece = np.empty(int(kept_before[-1]) + last - taken, _ROW)
        is_new = np.zeros(len(piece), np.bool_)
        is_new[places] = True
        piece[is_new] = self.new[taken:last]
        piece[~is_new] = self.old[row:end][is_kept]
        return piece.tobytes()


def plan_changes(data: Buffer, removed: Buffer, upserted: Buffer) -> Changes:
    """Look up all rows that change; the tags of both lists must rise and be different."""
    old, new, tags = rows_of(data), rows_of(upserted), tag_words(upserted)
    at = first_rows(data, tags)
    is_replacing = is_at(data, tags, at)
    found = locate(data, joined_words(removed))
    gone = found[found >= 0]
    return Changes(
        old=old,
        new=new,
        at=at,
        dropped=np.sort(np.concatenate([gone, at[is_replacing]])),
        missing=len(found) - len(gone),
        reused_nonces=_count_reused(old[at[is_replacing]], new[is_replacing]),
    )


def rows_of(data: Buffer) -> Rows:
    """Return a view of a table as whole records."""
    view = memoryview(data).cast("B")
    return np.ndarray((len(view) // RECORD_SIZE,), _ROW, view)


def join_rows(parts: Sequence[Buffer]) -> Rows:
    """Return the records of several tables, one table after the other."""
    return np.concatenate([rows_of(part) for part in parts])


def _count_reused(old: Rows, new: Rows) -> int:
    before, after = (rows.view(np.uint8).reshape(-1, RECORD_SIZE) for rows in (old, new))
    nonce = slice(TAG_SIZE, TAG_SIZE + NONCE_SIZE)
    is_reused = (before[:, nonce] == after[:, nonce]).all(axis=1)
    return int(np.count_nonzero(is_reused & (before != after).any(axis=1)))
