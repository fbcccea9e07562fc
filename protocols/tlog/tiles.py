"""Tiles and entry bundles: a log as static files of at most 256 hashes or entries each.

A tile of level L and index N holds the hashes of 256 neighbouring full subtrees of 256^L
leaves. Above a full tile stands its own hash in the next level; the last tile of a level may
be partial and is then not hashed into anything. A bundle holds the entries of one tile of
level 0.

    tile/<L>/<N>[.p/<W>]           W hashes of 32 bytes, 256 if not partial
    tile/entries/<N>[.p/<W>]       W entries, each behind its length (u16, big-endian)

Reading a tile proves nothing: whoever reads computes the root, or a proof, and compares that
with a checkpoint.

Source:
    C2SP tlog-tiles (https://c2sp.org/tlog-tiles), C2SP@0ad71eb.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from protocols.errors import MalformedMessageError
from protocols.tlog.lines import HASH_SIZE, MAX_SIZE
from protocols.tlog.merkle import EMPTY_ROOT, hash_children, root_of

HEIGHT = 8
FULL = 256
MAX_ENTRY_SIZE = 65_535
MAX_LEVEL = 63

_PATH = re.compile(
    r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """The place of one tile of hashes; `width` is 256 unless the tile is partial."""

    level: int
    index: int
    width: int = FULL

    def __post_init__(self) -> None:
        if not 0 <= self.level <= MAX_LEVEL:
            raise ValueError(f"tile: level {self.level} not in 0..{MAX_LEVEL}")
        _check_place(self.index, self.width)

    @property
    def path(self) -> str:
        """Where the tile is served, below the prefix of the log."""
        return f"tile/{self.level}/{_number_path(self.index, self.width)}"


@dataclass(frozen=True, slots=True, order=True)
class Bundle:
    """The place of one bundle of entries; `width` is 256 unless the bundle is partial."""

    index: int
    width: int = FULL

    def __post_init__(self) -> None:
        _check_place(self.index, self.width)

    @property
    def path(self) -> str:
        """Where the bundle is served, below the prefix of the log."""
        return f"tile/entries/{_number_path(self.index, self.width)}"


def parse_path(text: str) -> Tile | Bundle:
    """Read the path of a tile or bundle in its only spelling.

    Raises:
        MalformedMessageError: on any other text.
    """
    match = _PATH.fullmatch(text)
    if not match:
        raise MalformedMessageError("tile path: not tile/<level>/<index>[.p/<width>]")
    level, number, width = match.groups()
    index = int(number.replace("/", "").replace("x", ""))
    try:
        wide = FULL if width is None else int(width)
        found = Bundle(index, wide) if level == "entries" else Tile(int(level), index, wide)
    except ValueError as error:
        raise MalformedMessageError(f"tile path: {error}") from error
    if found.path != text:
        raise MalformedMessageError("tile path: not in its shortest spelling")
    return found


def tiles_of(size: int, since: int = 0) -> list[Tile]:
    """Return the tiles of a tree of `size` leaves that one of `since` leaves does not have."""
    found: list[Tile] = []
    for level in range(MAX_LEVEL + 1):
        count, before = size >> HEIGHT * level, since >> HEIGHT * level
        if count == 0:
            break
        found += [Tile(level, index, width) for index, width in _cut(count, before)]
    return found


def bundles_of(size: int, since: int = 0) -> list[Bundle]:
    """Return the bundles of a log of `size` entries that one of `since` entries lacks."""
    return [Bundle(index, width) for index, width in _cut(size, since)]


def encode_tile(hashes: Sequence[bytes]) -> bytes:
    """Write 1 to 256 hashes."""
    if not 1 <= len(hashes) <= FULL or any(len(item) != HASH_SIZE for item in hashes):
        raise ValueError(f"tile: not 1 to {FULL} hashes of {HASH_SIZE} bytes")
    return b"".join(hashes)


def decode_tile(data: bytes, width: int) -> list[bytes]:
    """Read exactly `width` hashes.

    Raises:
        MalformedMessageError: on any other length.
    """
    if len(data) != width * HASH_SIZE:
        raise MalformedMessageError(
            f"tile: {len(data)} bytes, expected {width * HASH_SIZE} for width {width}"
        )
    return [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)]


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Write 1 to 256 entries of at most 65,535 bytes."""
    if not 1 <= len(entries) <= FULL or any(len(item) > MAX_ENTRY_SIZE for item in entries):
        raise ValueError(f"bundle: not 1 to {FULL} entries of at most {MAX_ENTRY_SIZE} bytes")
    return b"".join(len(item).to_bytes(2, "big") + item for item in entries)


def decode_bundle(data: bytes, width: int) -> list[bytes]:
    """Read exactly `width` entries.

    Raises:
        MalformedMessageError: on any other byte string.
    """
    entries, at = [], 0
    for number in range(width):
        start = at + 2
        at = start + int.from_bytes(data[at:start], "big")
        if len(data) < at or len(data) < start:
            raise MalformedMessageError(f"bundle: ends within entry {number} of {width}")
        entries.append(data[start:at])
    if at != len(data):
        raise MalformedMessageError(f"bundle: {len(data) - at} bytes after entry {width}")
    return entries


class TileNodes:
    """Reads the subtree hashes of a tree of `size` leaves out of its tiles, each fetched once.

    An instance is a `merkle.Node`: `prove_inclusion(7, size, TileNodes(size, fetch))`.

    Args:
        fetch: returns the content of a tile that a tree of `size` leaves has, at its width
            there; one that finds only the later full tile cuts it.
    """

    def __init__(self, size: int, fetch: Callable[[Tile], bytes]) -> None:
        self._size = size
        self._fetch = fetch
        self._tiles: dict[Tile, list[bytes]] = {}

    def __call__(self, level: int, index: int) -> bytes:
        """Return the hash of the full subtree `index` at `level` of the binary tree."""
        height = level % HEIGHT
        first = index << height  # counted in hashes of the tile's level
        tile = self._tile(level // HEIGHT, first // FULL)
        at = first % FULL
        if at + (1 << height) > tile.width:
            raise ValueError(f"node {index} of level {level} is not in a tree of {self._size}")
        if tile not in self._tiles:
            self._tiles[tile] = decode_tile(self._fetch(tile), tile.width)
        return root_of(self._tiles[tile][at : at + (1 << height)])

    def _tile(self, level: int, index: int) -> Tile:
        left = (self._size >> HEIGHT * level) - index * FULL
        if left <= 0 or index < 0:
            raise ValueError(f"no tile {index} at level {level} in a tree of {self._size}")
        return Tile(level, index, min(left, FULL))


class TileBuilder:
    """An append-only tree that gives out its tiles as they fill.

    The same steps write a log and check one: a checker feeds the leaf hashes of all entries
    and compares every tile with what it was served. The state is at most 255 hashes a level.
    """

    def __init__(self) -> None:
        self._levels: list[list[bytes]] = []
        self._size = 0

    @classmethod
    def load(cls, size: int, fetch: Callable[[Tile], bytes]) -> TileBuilder:
        """Go on from a tree of `size` leaves, of which the partial tiles are fetched.

        Raises:
            MalformedMessageError: a fetched tile has another length than its width asks for.
        """
        if not 0 <= size <= MAX_SIZE:
            raise ValueError(f"size {size} not in 0..{MAX_SIZE}")
        found, count, level = cls(), size, 0
        while count:
            index, width = divmod(count, FULL)
            tile = Tile(level, index, width) if width else None
            found._levels.append(decode_tile(fetch(tile), width) if tile else [])
            count, level = index, level + 1
        found._size = size
        return found

    @property
    def size(self) -> int:
        """The number of leaves."""
        return self._size

    def append(self, leaf_hash: bytes) -> list[tuple[Tile, bytes]]:
        """Add one leaf; return the tiles that it filled, lowest level first."""
        filled: list[tuple[Tile, bytes]] = []
        found, level = leaf_hash, 0
        self._size += 1
        while True:
            if level == len(self._levels):
                self._levels.append([])
            hashes = self._levels[level]
            hashes.append(found)
            if len(hashes) < FULL:
                return filled
            index = (self._size >> HEIGHT * (level + 1)) - 1
            filled.append((Tile(level, index), encode_tile(hashes)))
            found, level = root_of(hashes), level + 1
            hashes.clear()

    def extend(self, leaf_hashes: Iterable[bytes]) -> list[tuple[Tile, bytes]]:
        """Add leaves; return the tiles that they filled, in the order in which they did."""
        return [item for leaf_hash in leaf_hashes for item in self.append(leaf_hash)]

    def partial_tiles(self) -> list[tuple[Tile, bytes]]:
        """Return the tiles that are not full, lowest level first: a checkpoint needs them."""
        return [
            (Tile(level, self._size >> HEIGHT * (level + 1), len(hashes)), encode_tile(hashes))
            for level, hashes in enumerate(self._levels)
            if hashes
        ]

    def root(self) -> bytes:
        """Return the root over all leaves so far."""
        found: bytes | None = None
        for hashes in self._levels:
            end = len(hashes)
            # The full subtrees of a level, smallest and rightmost first.
            while end:
                start = end & (end - 1)
                left = root_of(hashes[start:end])
                found = left if found is None else hash_children(left, found)
                end = start
        return EMPTY_ROOT if found is None else found


def _cut(count: int, before: int) -> list[tuple[int, int]]:
    """Return (index, width) of what `count` hashes fill and `before` hashes do not."""
    if not 0 <= before <= count:
        raise ValueError(f"{before} is more than {count}")
    full, rest = divmod(count, FULL)
    found = [(index, FULL) for index in range(before // FULL, full)]
    return [*found, (full, rest)] if rest and count != before else found


def _check_place(index: int, width: int) -> None:
    if not 0 <= index <= MAX_SIZE >> HEIGHT:
        raise ValueError(f"index {index} not in 0..2^55 - 1")
    if not 1 <= width <= FULL:
        raise ValueError(f"width {width} not in 1..{FULL}")


def _number_path(index: int, width: int) -> str:
    text = str(index)
    text = text.zfill(-(-len(text) // 3) * 3)
    parts = [text[at : at + 3] for at in range(0, len(text), 3)]
    path = "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])
    return path if width == FULL else f"{path}.p/{width}"
