"""Trees of 0 to 256 leaves against the recursive definition of RFC 6962, section 2.1."""

from functools import cache
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InvalidProofError
from protocols.tlog.merkle import (
    EMPTY_ROOT,
    Frontier,
    Subtree,
    hash_leaf,
    is_subtree,
    prove_consistency,
    prove_inclusion,
    prove_subtree,
    root_at,
    root_of,
    subtree_hash,
    verify_consistency,
    verify_inclusion,
    verify_subtree,
)

MOST = 256
ENTRIES = [b"%d" % number for number in range(MOST)]
LEAVES = [hash_leaf(entry) for entry in ENTRIES]


def split(size):
    power = 1
    while power * 2 < size:
        power *= 2
    return power


@cache
def mth(low, high):
    """MTH(D[low:high]) as RFC 6962 defines it, from the entries themselves."""
    if high == low:
        return sha256(b"").digest()
    if high - low == 1:
        return sha256(b"\x00" + ENTRIES[low]).digest()
    middle = low + split(high - low)
    return sha256(b"\x01" + mth(low, middle) + mth(middle, high)).digest()


def path(index, low, high):
    """PATH(m, D[n]) of RFC 6962, section 2.1.1."""
    if high - low == 1:
        return []
    middle = low + split(high - low)
    if index < middle:
        return [*path(index, low, middle), mth(middle, high)]
    return [*path(index, middle, high), mth(low, middle)]


def subproof(old, low, high, whole):
    """SUBPROOF(m, D[n], b) of RFC 6962, section 2.1.2, with m counted from `low`."""
    if old == high - low:
        return [] if whole else [mth(low, high)]
    middle = low + split(high - low)
    if old <= middle - low:
        return [*subproof(old, low, middle, whole), mth(middle, high)]
    return [*subproof(old - (middle - low), middle, high, False), mth(low, middle)]


@cache
def node(level, index):
    return mth(index << level, (index + 1) << level)


def test_roots_equal_the_recursive_definition():
    frontier = Frontier()
    for size in range(MOST + 1):
        expected = mth(0, size)
        assert root_of(LEAVES[:size]) == expected
        assert root_at(size, node) == expected
        assert frontier.root() == expected
        assert Frontier(size, frontier.hashes).root() == expected
        if size < MOST:
            frontier.append(LEAVES[size])
    assert frontier.size == MOST
    assert root_of([]) == EMPTY_ROOT


def test_every_inclusion_proof_equals_the_definition_and_holds():
    for size in range(1, MOST + 1):
        root = mth(0, size)
        for index in range(size):
            proof = prove_inclusion(index, size, node)
            assert proof == path(index, 0, size)
            verify_inclusion(index, size, LEAVES[index], proof, root)


def test_every_consistency_proof_equals_the_definition_and_holds():
    for size in range(1, MOST + 1):
        root = mth(0, size)
        for old in range(1, size + 1):
            proof = prove_consistency(old, size, node)
            assert proof == subproof(old, 0, size, True)
            verify_consistency(old, size, proof, mth(0, old), root)


def damaged(proof):
    """Yield every proof that differs in one place: cut, longer, changed, swapped."""
    if proof:
        yield proof[:-1]
        yield proof[1:]
    yield [*proof, bytes(32)]
    yield [bytes(32), *proof]
    for at, item in enumerate(proof):
        yield [*proof[:at], bytes([item[0] ^ 1]) + item[1:], *proof[at + 1 :]]
        yield [*proof[:at], item[:31], *proof[at + 1 :]]
    for at in range(len(proof) - 1):
        yield [*proof[:at], proof[at + 1], proof[at], *proof[at + 2 :]]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 31, 33, 64])
def test_damaged_inclusion_proof_is_refused(size):
    root = mth(0, size)
    for index in range(size):
        proof = path(index, 0, size)
        for bad in damaged(proof):
            with pytest.raises(InvalidProofError):
                verify_inclusion(index, size, LEAVES[index], bad, root)
        for place, total in ((index + 1, size), (index, 0), (-1, size), (index, 2**63)):
            with pytest.raises(InvalidProofError):
                verify_inclusion(place, total, LEAVES[index], proof, root)
        with pytest.raises(InvalidProofError):
            verify_inclusion(index, size, LEAVES[index], proof, LEAVES[-1])
        with pytest.raises(InvalidProofError):
            verify_inclusion(index, size, LEAVES[-1], proof, root)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 31, 33, 64])
def test_damaged_consistency_proof_is_refused(size):
    new = mth(0, size)
    for old_size in range(1, size + 1):
        old = mth(0, old_size)
        proof = subproof(old_size, 0, size, True)
        for bad in damaged(proof):
            with pytest.raises(InvalidProofError):
                verify_consistency(old_size, size, bad, old, new)
        with pytest.raises(InvalidProofError):
            verify_consistency(old_size, size, proof, LEAVES[-1], new)
        with pytest.raises(InvalidProofError):
            verify_consistency(old_size, size, proof, old, LEAVES[-1])
        with pytest.raises(InvalidProofError):
            verify_consistency(size + 1, size, proof, old, new)
        with pytest.raises(InvalidProofError):
            verify_consistency(0, size, proof, EMPTY_ROOT, new)


@given(st.integers(1, MOST), st.data())
def test_proof_of_another_history_is_refused(size, data):
    index = data.draw(st.integers(0, size - 1))
    other = [*LEAVES[:index], hash_leaf(b"forged"), *LEAVES[index + 1 : size]]
    with pytest.raises(InvalidProofError):
        verify_inclusion(index, size, LEAVES[index], path(index, 0, size), root_of(other))
    old = data.draw(st.integers(index + 1, size))
    with pytest.raises(InvalidProofError):
        verify_consistency(
            old, size, subproof(old, 0, size, True), root_of(other[:old]), mth(0, size)
        )


def test_every_subtree_of_small_trees_is_proven():
    for size in range(1, 65):
        root = mth(0, size)
        for end in range(1, size + 1):
            for start in filter(lambda low: is_subtree(low, end), range(end)):
                part = Subtree(start, end, mth(start, end))
                proof = prove_subtree(start, end, size, node)
                verify_subtree(part, size, proof, root)
                with pytest.raises(InvalidProofError):
                    verify_subtree(Subtree(start, end, bytes(32)), size, proof, root)


@pytest.mark.parametrize(("index", "size"), [(-1, 5), (5, 5), (0, 0)])
def test_prover_refuses_a_leaf_that_is_not_there(index, size):
    with pytest.raises(ValueError, match="no leaf"):
        prove_inclusion(index, size, node)


@pytest.mark.parametrize(("old", "new"), [(0, 5), (6, 5), (-1, 5)])
def test_prover_refuses_sizes_that_do_not_follow(old, new):
    with pytest.raises(ValueError, match="is no subtree"):
        prove_consistency(old, new, node)


def test_frontier_refuses_a_state_that_does_not_fit():
    with pytest.raises(ValueError, match="do not fit"):
        Frontier(3, (LEAVES[0],))
    with pytest.raises(ValueError, match="not of 32 bytes"):
        Frontier(1, (b"short",))


def test_unaligned_range_is_no_subtree():
    with pytest.raises(ValueError, match="no subtree"):
        subtree_hash(1, 3, node)
