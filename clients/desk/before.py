"""The lights that the last screening found, so that the next one tells what changed.

    desk/screening.sealed   token (16) || colour (1) for every customer, sealed

Tokens are the cache's: the same for a customer in every epoch and from every file.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from clients.lookup.secrets import CACHE_KEY, Random, derive_key, keep_secret, seal, unseal
from clients.node.files import make_private_directory
from clients.node.home import Home
from compliance.files import write_atomically
from protocols.lookup.light import Colour

COLOURS = tuple(Colour)
_NAME = b"screening/v1"
_WIDTH = 17
_PAIRS = (len(COLOURS) + 1) * len(COLOURS)


class LastLights:
    """What is known of customers from screenings before."""

    def __init__(self, home: Home, random: Random) -> None:
        self._path = make_private_directory(home.root / "desk") / "screening.sealed"
        self._key = derive_key(keep_secret(home.keys / CACHE_KEY, random), _NAME)
        self._random = random

    def exchange(
        self, tokens: NDArray[np.uint64], colours: NDArray[np.uint8]
    ) -> Counter[tuple[Colour | None, Colour]]:
        """Keep the new lights and count the changes; None stands for a customer not seen before.

        Shapes:
            tokens: (n, 2), distinct; colours: (n,) positions in `COLOURS`.
        """
        known_tokens, known_colours = self._load()
        found = _find(known_tokens, tokens)
        padded = np.append(known_colours, np.uint8(len(COLOURS)))  # -1 finds its last one
        before = padded[found].astype(np.int64)
        counts = np.bincount(before * len(COLOURS) + colours, minlength=_PAIRS)
        kept = np.ones(len(known_tokens), np.bool_)
        kept[found[found >= 0]] = False
        self._store(
            np.vstack([known_tokens[kept], tokens]), np.append(known_colours[kept], colours)
        )
        changes: Counter[tuple[Colour | None, Colour]] = Counter()
        for at in np.flatnonzero(counts).tolist():
            old, new = divmod(at, len(COLOURS))
            if old != new:
                known = COLOURS[old] if old < len(COLOURS) else None
                changes[known, COLOURS[new]] = int(counts[at])
        return changes

    def find(self, tokens: NDArray[np.uint64]) -> list[Colour]:
        """Return the lights that are known of some customers.

        Shapes:
            tokens: (n, 2).
        """
        known, colours = self._load()
        rows = _find(known, tokens)
        return [COLOURS[int(colours[row])] for row in rows if row >= 0]

    def erase(self, tokens: NDArray[np.uint64]) -> int:
        """Forget some customers; returns how many were known.

        Shapes:
            tokens: (n, 2).
        """
        known, colours = self._load()
        rows = _find(known, tokens)
        kept = np.ones(len(known), np.bool_)
        kept[rows[rows >= 0]] = False
        if not kept.all():
            self._store(known[kept], colours[kept])
        return int((~kept).sum())

    def _load(self) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
        if not self._path.exists():
            return np.empty((0, 2), np.uint64), np.empty(0, np.uint8)
        plain = unseal(self._key, self._path.read_bytes(), _NAME, self._path.name)
        rows = np.frombuffer(plain, np.uint8).reshape(-1, _WIDTH)
        return np.ascontiguousarray(rows[:, :-1]).view(np.uint64), rows[:, -1]

    def _store(self, tokens: NDArray[np.uint64], colours: NDArray[np.uint8]) -> None:
        words = np.ascontiguousarray(tokens).view(np.uint8).reshape(-1, _WIDTH - 1)
        rows = np.hstack([words, colours[:, None].astype(np.uint8)])
        write_atomically(self._path, seal(self._key, rows.tobytes(), _NAME, self._random))


def _find(known: NDArray[np.uint64], tokens: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return where each token stands among those known, or -1."""
    if np.array_equal(known, tokens):
        return np.arange(len(tokens))  # the same file as last time
    if not len(known):
        return np.full(len(tokens), -1, np.int64)
    order = np.argsort(known[:, 0], kind="stable")
    at = np.searchsorted(known[order, 0], tokens[:, 0]).clip(max=len(order) - 1)
    rows = order[at]
    return np.where((known[rows] == tokens).all(axis=1), rows, -1)
