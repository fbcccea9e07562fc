"""An entry on its way into the log: all of its bytes but its index, which is given last.

The index is known only when the entry's turn has come, and a turn must be short. So the
caller's own thread encodes the entry before, and the two halves are joined around the index.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from compliance.log.storage import SealedPart
from protocols.tlog.entry import Entry
from protocols.tlog.tiles import MAX_ENTRY_SIZE

# In canonical JSON the names of an object stand in this order, each once, and no text can
# hold an unescaped quotation mark: there is one such place in every entry.
_BEFORE, _AFTER = b',"sequence":', b',"subject_matter":'
_LONGEST_INDEX = 16  # digits of 2^53 - 1


@dataclass(frozen=True, slots=True)
class Draft:
    """The two halves of an entry's encoding, its private part, and the document it names."""

    head: bytes = field(repr=False)
    rest: bytes = field(repr=False)
    part: SealedPart | None = None
    document: bytes | None = None

    def place(self, index: int) -> bytes:
        """Return the encoded entry with this index as its sequence."""
        return b"%b%d%b" % (self.head, index, self.rest)


def draft_entry(entry: Entry, part: SealedPart | None) -> Draft:
    """Encode an entry, whatever its sequence, and bind it to its private part.

    Raises:
        ValueError: the entry commits to another part, or is too long.
    """
    if part is not None and part.commitment != entry.commitment:
        raise ValueError("entry: commits to another private part")
    head, found, rest = entry.encode().partition(b"%b%d%b" % (_BEFORE, entry.sequence, _AFTER))
    if not found or len(head) + len(found) + len(rest) + _LONGEST_INDEX > MAX_ENTRY_SIZE:
        raise ValueError(f"entry: leaves no room for an index within {MAX_ENTRY_SIZE} bytes")
    return Draft(head + _BEFORE, _AFTER + rest, part, entry.document)
