"""What this node has evaluated in an epoch: asked once, used until the epoch ends.

    lookup/cache/<epoch>.outputs          token (16) || root (32) for each identifier
    lookup/cache/<epoch>.tags-<number>    for each of those rows, the beginnings of the two
                                          tags that contributor <number> may use (16)

No identifier is in it: a token is a keyed hash of one, under `keys/cache.key`, and the files
are sealed under the same key. Matching a million customers against a table is then a search
in two columns of numbers, and costs no evaluation and no quota.

Privacy:
    Who has both file and key can read what the tables say about the customers in it, which
    is what this node may do; nobody else can read anything.

Source:
    RFC 7693, section 2.9: BLAKE2b with a key; for a million tokens three times as fast as HMAC.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from clients.lookup.sealed import SealedRows
from clients.lookup.secrets import CACHE_KEY, Random, derive_key, keep_secret
from clients.node.files import make_private_directory
from clients.node.home import Home
from protocols.lookup.derivation import ROOT_SIZE, derive_root, tag_table
from protocols.oprf.errors import WrongEpochError

TOKEN_SIZE = 16
_TAGS_WIDTH = 16
_COMPARED = 100_000


class OutputCache:
    """The cached outputs of one epoch."""

    def __init__(self, home: Home, epoch: int, random: Random) -> None:
        self._folder = make_private_directory(home.root / "lookup" / "cache")
        self.epoch = epoch
        self._random = random
        key = keep_secret(home.keys / CACHE_KEY, random)
        self._tokens_key = derive_key(key, b"tokens/v1")
        self._key = derive_key(key, b"cache/v1")
        self._rows = self._column("outputs", TOKEN_SIZE + ROOT_SIZE)
        self._indexed = 0
        self._sorted = np.empty(0, np.uint64)
        self._order = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._rows.load())

    def tokens(self, canonical: Sequence[bytes]) -> NDArray[np.uint64]:
        """Name identifiers by their tokens, the same in every epoch.

        Shapes:
            result: (n, 2), two words of a token.
        """
        key = self._tokens_key
        joined = b"".join(
            [blake2b(item, digest_size=TOKEN_SIZE, key=key).digest() for item in canonical]
        )
        return np.frombuffer(joined, np.uint64).reshape(-1, 2)

    def add(self, canonical: Sequence[bytes], outputs: Sequence[bytes]) -> None:
        """Keep the outputs of identifiers; durable when this returns."""
        tokens = self.tokens(canonical).view(np.uint8).reshape(-1, TOKEN_SIZE)
        roots = b"".join([derive_root(self.epoch, output) for output in outputs])
        rows = np.hstack([tokens, np.frombuffer(roots, np.uint8).reshape(-1, ROOT_SIZE)])
        while not self._rows.append(rows, len(self._rows.load())):
            pass  # another process of this node added first

    def positions(self, tokens: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the row of each token, or -1.

        Shapes:
            tokens: (n, 2); result: (n,).
        """
        words = self._words()
        recent = words[self._indexed :]
        if len(recent) * len(tokens) > _COMPARED:
            self._index(words)
            recent = words[self._indexed :]
        found = np.full(len(tokens), -1, np.int64)
        if self._indexed:
            at = np.searchsorted(self._sorted, tokens[:, 0]).clip(max=self._indexed - 1)
            rows = self._order[at]
            found = np.where((words[rows] == tokens).all(axis=1), rows, found)
        # What came since the index was made is compared one by one: a check adds one row,
        # and must not sort a million again.
        asked, new = np.nonzero((tokens[:, None] == recent[None]).all(axis=2))
        found[asked] = new + self._indexed
        return found

    def roots(self, rows: NDArray[np.int64]) -> list[bytes]:
        """Return the roots of rows.

        Raises:
            WrongEpochError: one of them is no row: it was evaluated in another epoch.
        """
        if (rows < 0).any():
            raise WrongEpochError("cache: an identifier has no root in this epoch; evaluate it")
        found = self._rows.load()[rows, TOKEN_SIZE:].tobytes()
        return [found[at : at + ROOT_SIZE] for at in range(0, len(found), ROOT_SIZE)]

    def tags(self, number: int) -> NDArray[np.uint64]:
        """Return the beginnings of a contributor's two tags for every row.

        Shapes:
            result: (rows, 2), indexed by `Slot`.
        """
        column = self._column(f"tags-{number}", _TAGS_WIDTH)
        while (known := len(found := column.load())) < len(rows := self._rows.load()):
            missing = tag_table(rows[known:, TOKEN_SIZE:].tobytes(), [number])
            column.append(missing.view(np.uint8).reshape(-1, _TAGS_WIDTH), known)
        return found[: len(rows)].view(np.uint64)

    def count(self, canonical: Sequence[bytes]) -> int:
        """Return how many of these identifiers are in the cache."""
        return int((self.positions(self.tokens(canonical)) >= 0).sum())

    def erase(self, canonical: Sequence[bytes]) -> int:
        """Overwrite the rows of some persons with random ones; returns how many there were.

        The rows stay, because other columns count them; a random token is nobody's, and no
        table has a record under the tags of a random root. Tags go first: a process that
        is killed in between finds the row again by its token.
        """
        rows = self.positions(self.tokens(canonical))
        places = [int(row) for row in rows if row >= 0]
        for path in self._folder.glob(f"{self.epoch}.tags-*"):
            column = self._column(path.name.removeprefix(f"{self.epoch}."), _TAGS_WIDTH)
            known = [place for place in places if place < len(column.load())]
            column.overwrite(known, self._noise(len(known), _TAGS_WIDTH))
        self._rows.overwrite(places, self._noise(len(places), TOKEN_SIZE + ROOT_SIZE))
        return len(places)

    @staticmethod
    def epochs(home: Home) -> list[int]:
        """Return the epochs of which something is kept."""
        paths = (home.root / "lookup" / "cache").glob("*.outputs")
        return sorted(int(path.stem) for path in paths if path.stem.isdigit())

    @staticmethod
    def forget(home: Home, epoch: int) -> None:
        """Remove everything that was evaluated in an epoch that is over."""
        for path in (home.root / "lookup" / "cache").glob(f"{epoch}.*"):
            path.unlink(missing_ok=True)

    def _noise(self, count: int, width: int) -> NDArray[np.uint8]:
        return np.frombuffer(self._random(count * width), np.uint8).reshape(count, width)

    def _column(self, name: str, width: int) -> SealedRows:
        file = f"{self.epoch}.{name}"
        return SealedRows(self._folder / file, self._key, file.encode(), width, self._random)

    def _words(self) -> NDArray[np.uint64]:
        """Return a view of all tokens, as two words each."""
        return self._rows.load().view(np.uint64)[:, : TOKEN_SIZE // 8]

    def _index(self, words: NDArray[np.uint64]) -> None:
        self._order = np.argsort(words[:, 0], kind="stable")
        self._sorted = words[self._order, 0]
        self._indexed = len(words)
