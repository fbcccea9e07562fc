"""Decoding entries by the hundred thousand: what entries share is decoded once.

Most entries of a log differ in five fields alone: actor, commitment, count, sequence and time.
No rule of an entry connects these with each other or with the rest, so an entry is valid if
each of the five is, and if the same entry with other valid values in the five places is. The
five are matched by pattern; the rest is decoded with fixed values in their places, and
remembered. Whatever the pattern does not match is decoded in full.

The pattern finds the five by their neighbours, whose order canonical JSON fixes; a text
within an entry holds no unescaped quotation mark, so it cannot pose as one of them.
"""

from __future__ import annotations

import re

from protocols.tlog.entry import Entry

MOST = 10_000
_NUMBER = rb"(?:0|[1-9][0-9]{0,14})"  # all of them below 2^53
_ENTRY = re.compile(
    rb'(\{"act":"[a-z_]{1,64}"),"actor":"[0-9a-f]{32}"(,"agreement":.{1,8000}),"commitment":"[0-9a-f]{64}","count":'
    + _NUMBER
    + rb'(,"decision":.{1,8000}),"sequence":('
    + _NUMBER
    + rb')(,"subject_matter":.{1,8000}),"time":'
    + _NUMBER
    + rb'(,"verb":"[a-z]{1,20}","version":1\})'
)


class EntryForms:
    """Remembers what was decoded; one for a run over many entries."""

    def __init__(self) -> None:
        self._known: set[tuple[bytes, ...]] = set()

    def read_sequence(self, data: bytes) -> int:
        """Return the sequence of an entry that `Entry.decode` accepts.

        Raises:
            MalformedMessageError: as `Entry.decode`.
        """
        match = _ENTRY.fullmatch(data)
        if match is None:
            return Entry.decode(data).sequence
        act, agreement, decision, sequence, matter, verb = match.groups()
        form = (act, agreement, decision, matter, verb)
        if form not in self._known:
            Entry.decode(_fixed(form))
            if len(self._known) < MOST:
                self._known.add(form)
        return int(sequence)


def _fixed(form: tuple[bytes, ...]) -> bytes:
    act, agreement, decision, matter, verb = form
    zeros = b'%b,"actor":"%b"' % (act, b"0" * 32)
    commitment = b',"commitment":"%b","count":0' % (b"0" * 64)
    return b"".join(
        [zeros, agreement, commitment, decision, b',"sequence":0', matter, b',"time":0', verb]
    )
