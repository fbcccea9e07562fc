"""Tiles and bundles: the logs of others, and our own at every size around a full tile."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import MalformedMessageError
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.merkle import (
    hash_leaf,
    prove_consistency,
    prove_inclusion,
    root_at,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from protocols.tlog.note import Note
from protocols.tlog.tiles import (
    Bundle,
    Tile,
    TileBuilder,
    TileNodes,
    bundles_of,
    decode_bundle,
    decode_tile,
    encode_bundle,
    encode_tile,
    parse_path,
    tiles_of,
)


def checkpoint_of(path):
    return Checkpoint.parse(Note.decode(path.read_bytes()).text)


def entries_of(folder, size):
    read = [decode_bundle((folder / b.path).read_bytes(), b.width) for b in bundles_of(size)]
    return [entry for bundle in read for entry in bundle]


@pytest.mark.parametrize("size", range(16))
def test_sample_log_of_tessera_is_whole_at_every_size(vectors, size):
    folder = vectors / "tessera_sample_log"
    checkpoint = checkpoint_of(folder / f"checkpoint.{size}")
    assert checkpoint.size == size
    builder = TileBuilder()
    builder.extend(map(hash_leaf, entries_of(folder, size)))
    assert builder.root() == checkpoint.root
    for tile, data in builder.partial_tiles():
        assert (folder / tile.path).read_bytes() == data
    nodes = TileNodes(size, lambda tile: (folder / tile.path).read_bytes())
    assert root_at(size, nodes) == checkpoint.root


def test_golden_log_is_whole(vectors):
    folder = vectors / "golden_cosigned_log" / "log"
    checkpoint = checkpoint_of(folder / "checkpoint")
    entries = entries_of(folder, checkpoint.size)
    builder = TileBuilder()
    made = builder.extend(map(hash_leaf, entries)) + builder.partial_tiles()
    assert sorted(tile for tile, _ in made) == tiles_of(checkpoint.size)
    for tile, data in made:
        assert (folder / tile.path).read_bytes() == data
    assert builder.root() == checkpoint.root
    for bundle in bundles_of(checkpoint.size):
        start = bundle.index * 256
        data = encode_bundle(entries[start : start + bundle.width])
        assert (folder / bundle.path).read_bytes() == data


def test_proofs_from_tiles_hold(vectors):
    folder = vectors / "golden_cosigned_log"
    checkpoint = checkpoint_of(folder / "log" / "checkpoint")
    fetched = []

    def fetch(tile):
        fetched.append(tile)
        return (folder / "log" / tile.path).read_bytes()

    nodes = TileNodes(checkpoint.size, fetch)
    for index, entry in enumerate(entries_of(folder / "log", checkpoint.size)):
        proof = prove_inclusion(index, checkpoint.size, nodes)
        verify_inclusion(index, checkpoint.size, hash_leaf(entry), proof, checkpoint.root)
    old = checkpoint_of(folder / "checkpoint.257")
    proof = prove_consistency(old.size, checkpoint.size, nodes)
    verify_consistency(old.size, checkpoint.size, proof, old.root, checkpoint.root)
    assert len(fetched) == len(set(fetched))


@pytest.fixture(scope="module")
def served():
    """All tiles, at all sizes, of a log of 66,000 leaves: three levels."""
    builder, store = TileBuilder(), {}
    leaves = [hash_leaf(b"%d" % number) for number in range(66_000)]
    for number, leaf_hash in enumerate(leaves, start=1):
        store.update(builder.append(leaf_hash))
        if number in SIZES:
            store.update(builder.partial_tiles())
    return leaves, store


SIZES = (1, 2, 255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 65_792, 66_000)


@pytest.mark.parametrize("size", SIZES)
def test_tiles_of_a_size_are_those_that_were_made(served, size):
    leaves, store = served
    tiles = tiles_of(size)
    assert set(tiles) <= set(store)
    for tile in tiles:
        assert len(store[tile]) == 32 * tile.width
    root = root_of(leaves[:size])
    assert root_at(size, TileNodes(size, store.__getitem__)) == root
    loaded = TileBuilder.load(size, store.__getitem__)
    assert (loaded.size, loaded.root()) == (size, root)
    more = [hash_leaf(b"more %d" % number) for number in range(300)]
    loaded.extend(more)
    assert loaded.root() == root_of(leaves[:size] + more)


def test_specification_example_of_70000_is_met():
    tiles = tiles_of(70_000)
    full = [tile for tile in tiles if tile.width == 256]
    assert [sum(tile.level == level for tile in full) for level in range(3)] == [273, 1, 0]
    partial = [tile for tile in tiles if tile.width < 256]
    assert partial == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert tiles_of(256) == [Tile(0, 0), Tile(1, 0, 1)]
    assert tiles_of(0) == bundles_of(0) == []


@given(st.integers(0, 200_000), st.integers(0, 70_000))
def test_new_tiles_are_those_that_were_not_there(old, more):
    size = old + more
    assert set(tiles_of(size, since=old)) == set(tiles_of(size)) - set(tiles_of(old))
    assert set(bundles_of(size, since=old)) == set(bundles_of(size)) - set(bundles_of(old))


@pytest.mark.parametrize(
    ("place", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(1, 1234067), "tile/1/x001/x234/067"),
        (Tile(63, 999, 255), "tile/63/999.p/255"),
        (Tile(2, 1000, 1), "tile/2/x001/000.p/1"),
        (Bundle(273, 112), "tile/entries/273.p/112"),
        (Bundle(1234067), "tile/entries/x001/x234/067"),
    ],
)
def test_paths_are_those_of_the_specification(place, path):
    assert place.path == path
    assert parse_path(path) == place


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0/0",
        "tile/0/0000",
        "tile/00/000",
        "tile/64/000",
        "tile/0/x000/000",
        "tile/0/x001/x000",
        "tile/0/001/000",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/257",
        "tile/0/000.p/999",
        "tile/0/000/",
        "/tile/0/000",
        "tile/entries/x999/x999/x999/x999/x999/x999/999",
        "tile/0/٠٠٠",
        "tile/0/000\n",
        "tile/0/../000",
        "checkpoint",
    ],
)
def test_other_paths_are_refused(path):
    with pytest.raises(MalformedMessageError):
        parse_path(path)


@given(st.integers(0, 63), st.integers(0, 2**55 - 1), st.integers(1, 256))
def test_every_place_survives_its_path(level, index, width):
    assert parse_path(Tile(level, index, width).path) == Tile(level, index, width)
    assert parse_path(Bundle(index, width).path) == Bundle(index, width)


@given(st.text(alphabet="tile/entrisx.p0123456789", max_size=40))
def test_any_path_is_a_place_or_malformed(text):
    with suppress(MalformedMessageError):
        assert parse_path(text).path == text


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=20))
def test_bundle_survives_and_its_cuts_do_not(entries):
    data = encode_bundle(entries)
    assert decode_bundle(data, len(entries)) == entries
    for bad in (data[:-1], data + b"\0"):
        with pytest.raises(MalformedMessageError):
            decode_bundle(bad, len(entries))
    with pytest.raises(MalformedMessageError):
        decode_bundle(data, len(entries) + 1)


@given(st.binary(max_size=100), st.integers(1, 256))
def test_any_bytes_are_a_bundle_or_malformed(data, width):
    with suppress(MalformedMessageError):
        assert encode_bundle(decode_bundle(data, width)) == data


def test_bundle_cut_anywhere_is_refused():
    data = encode_bundle([b"one", b"", b"three"])
    for size in range(len(data)):
        with pytest.raises(MalformedMessageError):
            decode_bundle(data[:size], 3)


@pytest.mark.parametrize("size", [0, 31, 33, 63, 65, 96])
def test_tile_of_another_length_is_refused(size):
    with pytest.raises(MalformedMessageError, match=f"{size} bytes, expected 64"):
        decode_tile(bytes(size), 2)


def test_what_cannot_be_written_is_refused():
    for hashes in ([], [bytes(31)], [bytes(32)] * 257):
        with pytest.raises(ValueError, match="tile"):
            encode_tile(hashes)
    for entries in ([], [bytes(65_536)], [b""] * 257):
        with pytest.raises(ValueError, match="bundle"):
            encode_bundle(entries)
    encode_bundle([bytes(65_535)] * 2)


def test_node_outside_of_the_tree_is_refused(served):
    nodes = TileNodes(513, served[1].__getitem__)
    for level, index in ((0, 513), (1, 256), (8, 2), (9, 1), (16, 0), (0, -1)):
        with pytest.raises(ValueError, match="in a tree of 513"):
            nodes(level, index)
