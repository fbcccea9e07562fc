"""The tree of a stored log: its state at the right edge, its growth, tiles and proofs.

What goes into a log is hashed once, by whoever appends it, and the full tiles are stored with
the entries. Everything else is read out of these: partial tiles are put together from the
entries or the tiles below, proofs from tiles.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from compliance.errors import LogCorruptError
from compliance.log.storage import Edge, FullTile, Storage
from protocols.tlog.lines import HASH_SIZE
from protocols.tlog.merkle import (
    Frontier,
    hash_leaf,
    prove_consistency,
    prove_inclusion,
    root_at,
    root_of,
)
from protocols.tlog.tiles import FULL, HEIGHT, Bundle, Tile, TileNodes, encode_bundle, encode_tile


class StoredTree:
    """Reads the tree over the first `size` entries of a log.

    An instance remembers the tiles that it read: make one for a proof or an export, not for
    the life of a program.
    """

    def __init__(self, storage: Storage, origin: str, size: int) -> None:
        self._storage = storage
        self._origin = origin
        self._size = size
        self._nodes = TileNodes(size, self.tile)

    def tile(self, tile: Tile) -> bytes:
        """Return the content of a tile at its width."""
        hashes = self._tile(tile)
        if len(hashes) != tile.width * HASH_SIZE:
            raise LogCorruptError(f"log: {tile.path} has {len(hashes)} bytes")
        return hashes

    def bundle(self, bundle: Bundle) -> bytes:
        """Return the content of a bundle of entries at its width.

        Raises:
            EntryPrunedError: the bundle is no longer given out.
        """
        start = bundle.index * FULL
        entries = self._storage.entries(self._origin, start, start + bundle.width)
        try:
            return encode_bundle(entries)
        except ValueError as error:
            raise LogCorruptError(f"log: an entry of {bundle.path} is too long") from error

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of a full subtree (`merkle.Node`)."""
        return self._nodes(level, index)

    def edge(self) -> Edge:
        """Return the right edge as the tiles have it."""
        size = self._size
        levels = reversed(range(size.bit_length()))
        set_levels = [level for level in levels if size >> level & 1]
        return Edge(size, tuple(self.node(level, (size >> level) - 1) for level in set_levels))

    def root(self, size: int | None = None) -> bytes:
        """Return the root over all entries, or over the first `size` of them."""
        return root_at(self._size if size is None else size, self.node)

    def _tile(self, tile: Tile) -> bytes:
        if tile.width == FULL:
            return self._storage.full_tile(self._origin, tile.level, tile.index)
        start = tile.index * FULL
        end = start + tile.width
        if tile.level:
            return b"".join(self._storage.tile_roots(self._origin, tile.level - 1, start, end))
        return b"".join(map(hash_leaf, self._storage.entries(self._origin, start, end)))

    def prove_inclusion(self, index: int) -> list[bytes]:
        """Return the proof that entry `index` stands in the tree."""
        return prove_inclusion(index, self._size, self.node)

    def prove_consistency(self, old_size: int) -> list[bytes]:
        """Return the proof that the tree extends that of `old_size`; none is needed from 0."""
        return prove_consistency(old_size, self._size, self.node) if old_size else []


@dataclass(frozen=True, slots=True)
class Tip:
    """All that is needed to append: the edge, and the leaf hashes of the last partial tile."""

    edge: Edge
    tail: tuple[bytes, ...]


def load_tip(storage: Storage, origin: str) -> Tip:
    """Read the tip of a log and check the stored edge against tiles and entries.

    Raises:
        LogCorruptError: they do not agree.
    """
    edge = storage.edge(origin)
    start = edge.size // FULL * FULL
    tail = tuple(hash_leaf(entry) for entry in storage.entries(origin, start, edge.size))
    if StoredTree(storage, origin, edge.size).edge() != edge:
        raise LogCorruptError(f"log: tiles and edge disagree at size {edge.size}")
    return Tip(edge, tail)


def grow(
    tip: Tip, entries: Iterable[bytes], storage: Storage, origin: str
) -> tuple[Tip, list[FullTile]]:
    """Return the tip after more entries, and the tiles that they fill."""
    frontier = Frontier(tip.edge.size, tip.edge.hashes)
    tail = list(tip.tail)
    filled: list[FullTile] = []
    for entry in entries:
        leaf_hash = hash_leaf(entry)
        frontier.append(leaf_hash)
        tail.append(leaf_hash)
        if len(tail) == FULL:
            _fill(tail, frontier.size, filled, storage, origin)
            tail = []
    return Tip(Edge(frontier.size, frontier.hashes), tuple(tail)), filled


def _fill(
    tail: list[bytes], size: int, filled: list[FullTile], storage: Storage, origin: str
) -> None:
    """Add the tile of level 0 that ends at `size`, and those above it that it completes."""
    hashes, level = tail, 0
    while True:
        index = (size >> HEIGHT * (level + 1)) - 1
        filled.append(FullTile(Tile(level, index), encode_tile(hashes), root_of(hashes)))
        if size % (1 << HEIGHT * (level + 2)):
            return
        # The tile above is complete: its first hashes are stored, its last ones are new.
        new = [item.root for item in filled if item.tile.level == level][-FULL:]
        start = index + 1 - FULL
        stored = storage.tile_roots(origin, level, start, index + 1 - len(new))
        hashes, level = [*stored, *new], level + 1
