"""Trees that are large enough for tiles above tiles."""

import pytest

from compliance.log.memory import MemoryStorage
from compliance.log.storage import Batch
from compliance.log.tree import StoredTree, Tip, grow, load_tip
from protocols.tlog.merkle import hash_leaf, verify_consistency, verify_inclusion
from protocols.tlog.tiles import Tile, TileBuilder, tiles_of

ORIGIN = "hub.example/audit/2026"
ENTRIES = [b"%d" % number for number in range(131_400)]
CUTS = (65_300, 65_535, 65_536, 65_537, 131_072, 131_400)


@pytest.fixture(scope="module")
def grown():
    """A storage with all entries, appended in batches that end around full tiles."""
    storage = MemoryStorage()
    storage.register(ORIGIN)
    tip, start = load_tip(storage, ORIGIN), 0
    for end in CUTS:
        entries = tuple(ENTRIES[start:end])
        after, tiles = grow(tip, entries, storage, ORIGIN)
        with storage.exclusive(ORIGIN) as turn:
            turn.append(Batch(tip.edge, after.edge, entries, tuple(tiles)))
        tip, start = after, end
        assert load_tip(storage, ORIGIN) == tip
    return storage


def test_every_tile_is_what_the_entries_hash_to(grown):
    builder = TileBuilder()
    found = dict(builder.extend(map(hash_leaf, ENTRIES)))
    found |= dict(builder.partial_tiles())
    tree = StoredTree(grown, ORIGIN, len(ENTRIES))
    assert set(found) == set(tiles_of(len(ENTRIES)))
    assert Tile(1, 1) in found
    for tile, content in found.items():
        assert tree.tile(tile) == content
    assert tree.root() == builder.root() == grown.edge(ORIGIN).root()


def test_proofs_hold_at_every_earlier_size(grown):
    whole = StoredTree(grown, ORIGIN, len(ENTRIES))
    for size in CUTS[:-1]:
        tree = StoredTree(grown, ORIGIN, size)
        assert tree.root() == whole.root(size)
        for index in (0, 255, 256, size - 1):
            proof = tree.prove_inclusion(index)
            verify_inclusion(index, size, hash_leaf(ENTRIES[index]), proof, tree.root())
        consistent = whole.prove_consistency(size)
        verify_consistency(size, len(ENTRIES), consistent, tree.root(), whole.root())
    assert whole.prove_consistency(0) == []


def test_growth_does_not_depend_on_the_cuts(grown):
    storage = MemoryStorage()
    storage.register(ORIGIN)
    tip, tiles = grow(load_tip(storage, ORIGIN), ENTRIES, storage, ORIGIN)
    assert isinstance(tip, Tip)
    assert tip == load_tip(grown, ORIGIN)
    assert len(tiles) == 131_400 // 256 + 2
