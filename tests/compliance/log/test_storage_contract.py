"""One contract, kept by every storage."""

import threading

import pytest

from compliance.errors import LogConflictError, LogCorruptError
from compliance.log.errors import EntryPrunedError
from compliance.log.storage import Batch, Edge, Erasure, Place, SealedPart
from compliance.log.tree import StoredTree, grow, load_tip
from protocols.tlog.merkle import hash_leaf, root_of

A, B = "hub.example/audit/2026", "hub.example/audit/2027"


def part(tag):
    return SealedPart(b"c" * 32, b"sealed", b"key", b"case" + tag, b"subject" + tag)


def append(storage, entries, origin=A, parts=(), documents=()):
    """Append entries where the log ends."""
    tip = load_tip(storage, origin)
    after, tiles = grow(tip, entries, storage, origin)
    batch = Batch(
        tip.edge, after.edge, tuple(entries), tuple(tiles), tuple(parts), tuple(documents)
    )
    with storage.exclusive(origin) as turn:
        turn.append(batch)


@pytest.fixture
def opened(storage):
    storage.register(A)
    storage.register(B)
    return storage


def test_new_log_is_empty(storage):
    storage.register(B)
    storage.register(A)
    storage.register(A)
    assert storage.origins() == [A, B]
    assert storage.edge(A) == Edge()
    assert storage.entries(A, 0, 0) == []
    assert storage.checkpoint(A) is None
    assert storage.minimum(A) == 0


def test_unknown_log_is_refused(storage):
    with pytest.raises(ValueError, match="register"):
        storage.edge(A)
    with pytest.raises(ValueError, match="register"), storage.exclusive(A):
        pass


def test_entries_stand_in_order_and_logs_apart(opened):
    everything = [b"%d" % number for number in range(700)]
    at = 0
    for step in (1, 254, 1, 1, 300, 143):
        append(opened, everything[at : at + step])
        at += step
        append(opened, [b"other %d" % step], B)
        assert opened.edge(A).root() == root_of(map(hash_leaf, everything[:at]))
    assert opened.entries(A, 0, 700) == everything
    assert opened.entries(A, 250, 260) == everything[250:260]
    assert opened.entries(A, 700, 700) == []
    assert opened.edge(B).size == 6
    with pytest.raises(ValueError, match="not in a log"):
        opened.entries(A, 0, 701)


def test_tiles_are_those_of_the_entries(opened):
    everything = [b"%d" % number for number in range(520)]
    append(opened, everything)
    leaves = [hash_leaf(entry) for entry in everything]
    assert opened.full_tile(A, 0, 1) == b"".join(leaves[256:512])
    assert opened.tile_roots(A, 0, 0, 2) == [root_of(leaves[:256]), root_of(leaves[256:512])]
    assert opened.tile_roots(A, 0, 1, 1) == []
    for level, index in ((0, 2), (1, 0)):
        with pytest.raises(LogCorruptError):
            opened.full_tile(A, level, index)
    tree = StoredTree(opened, A, 520)
    assert tree.root() == root_of(leaves)
    assert tree.root(300) == root_of(leaves[:300])


def test_batch_at_another_size_conflicts_and_changes_nothing(opened):
    append(opened, [b"a", b"b"])
    old = Edge()
    after, _ = grow(load_tip(opened, B), [b"x"], opened, B)
    with pytest.raises(LogConflictError) as caught, opened.exclusive(A) as turn:
        turn.append(Batch(old, after.edge, (b"x",)))
    assert caught.value.known_size == 2
    assert opened.entries(A, 0, 2) == [b"a", b"b"]


def test_batch_on_another_history_is_a_fork(opened):
    append(opened, [b"a"])
    append(opened, [b"b"], B)
    tip = load_tip(opened, B)
    after, _ = grow(tip, [b"x"], opened, B)
    with pytest.raises(LogCorruptError), opened.exclusive(A) as turn:
        turn.append(Batch(tip.edge, after.edge, (b"x",)))
    assert opened.edge(A).size == 1


def test_error_in_a_turn_undoes_all_of_it(opened):
    append(opened, [b"%d" % number for number in range(255)])
    tip = load_tip(opened, A)
    after, tiles = grow(tip, [b"x"], opened, A)
    batch = Batch(tip.edge, after.edge, (b"x",), tuple(tiles), ((255, part(b"")),))
    with pytest.raises(ZeroDivisionError), opened.exclusive(A) as turn:
        assert turn.append(batch) or 1 / 0
    assert opened.edge(A) == tip.edge
    assert opened.part(Place(A, 255)) is None
    with pytest.raises(LogCorruptError):
        opened.full_tile(A, 0, 0)
    append(opened, [b"y"])
    assert opened.entries(A, 255, 256) == [b"y"]


def test_turn_sees_the_log_and_appends_once(opened):
    append(opened, [b"a", b"b"])
    tip = load_tip(opened, A)
    after, _ = grow(tip, [b"c"], opened, A)
    batch = Batch(tip.edge, after.edge, (b"c",))
    with opened.exclusive(A) as turn:
        assert turn.edge == tip.edge
        assert turn.entries(1, 2) == [b"b"]
        turn.append(batch)
        with pytest.raises(RuntimeError, match="one batch"):
            turn.append(batch)
    assert opened.entries(A, 0, 3) == [b"a", b"b", b"c"]


def test_turns_of_threads_never_overlap(opened):
    def work(name):
        for number in range(10):
            with opened.exclusive(A) as turn:
                tip = load_tip(opened, A)
                assert tip.edge == turn.edge
                entry = b"%d %d" % (name, number)
                after, tiles = grow(tip, [entry], opened, A)
                turn.append(Batch(tip.edge, after.edge, (entry,), tuple(tiles)))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = sorted(b"%d %d" % (a, b) for a in range(3) for b in range(10))
    assert sorted(opened.entries(A, 0, 30)) == expected
    load_tip(opened, A)


def test_checkpoint_is_compared_and_swapped(opened):
    assert not opened.swap_checkpoint(A, b"something", b"one")
    assert opened.swap_checkpoint(A, None, b"one")
    assert not opened.swap_checkpoint(A, None, b"two")
    assert opened.swap_checkpoint(A, b"one", b"two")
    assert opened.checkpoint(A) == b"two"
    assert opened.checkpoint(B) is None


def test_entries_below_the_minimum_are_refused_by_bundles(opened):
    append(opened, [b"%d" % number for number in range(600)])
    for wrong in (-1, 601):
        with pytest.raises(ValueError, match="minimum"):
            opened.raise_minimum(A, wrong)
    opened.raise_minimum(A, 511)
    assert opened.entries(A, 256, 600)[0] == b"256"
    with pytest.raises(EntryPrunedError):
        opened.entries(A, 255, 600)
    opened.raise_minimum(A, 600)
    with pytest.raises(EntryPrunedError):
        opened.entries(A, 511, 512)
    # The last, partial bundle is not refused, and tiles never are.
    assert opened.entries(A, 512, 600)[0] == b"512"
    assert StoredTree(opened, A, 600).edge() == opened.edge(A)
    with pytest.raises(ValueError, match="minimum"):
        opened.raise_minimum(A, 599)
    assert opened.minimum(A) == 600


def test_private_parts_are_found_and_erased_by_tag(opened):
    append(opened, [b"a", b"b", b"c"], parts=[(0, part(b"1")), (2, part(b"2"))])
    append(opened, [b"d"], B, parts=[(0, part(b"1"))])
    assert opened.part(Place(A, 0)) == part(b"1")
    assert opened.part(Place(A, 1)) is None
    assert opened.find_parts(b"case1") == [Place(A, 0), Place(B, 0)]
    assert opened.find_parts(b"subject2") == [Place(A, 2)]
    assert opened.erase_parts(b"subject1", 77) == [Place(A, 0), Place(B, 0)]
    assert opened.find_parts(b"case1") == opened.find_parts(b"subject1") == []
    assert opened.part(Place(A, 0)) == opened.part(Place(B, 0)) == Erasure(77)
    assert opened.part(Place(A, 2)) == part(b"2")
    assert opened.erase_parts(b"subject1", 78) == []
    assert opened.entries(A, 0, 3) == [b"a", b"b", b"c"]


def test_documents_are_found_where_they_are_named(opened):
    first, second = b"1" * 32, b"2" * 32
    append(opened, [b"a", b"b", b"c"], documents=[(0, first), (2, second)])
    append(opened, [b"d"], B, documents=[(0, first)])
    append(opened, [b"e"], documents=[(3, first)])
    assert opened.find_documents(first) == [Place(A, 0), Place(A, 3), Place(B, 0)]
    assert opened.find_documents(second) == [Place(A, 2)]
    assert opened.find_documents(b"3" * 32) == []


def test_document_of_an_undone_batch_is_not_on_record(opened):
    tip = load_tip(opened, A)
    after, tiles = grow(tip, [b"a"], opened, A)
    batch = Batch(tip.edge, after.edge, (b"a",), tuple(tiles), documents=((0, b"1" * 32),))

    def append_and_fail():
        with opened.exclusive(A) as turn:
            turn.append(batch)
            raise RuntimeError("undone")

    with pytest.raises(RuntimeError, match="undone"):
        append_and_fail()
    assert opened.find_documents(b"1" * 32) == []
