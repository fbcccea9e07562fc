"""Merkle trees of RFC 6962 over SHA-256: roots, proofs, and their verification.

Provers read a tree through a `Node`: a function from (level, index) to the hash of the full
subtree over the leaves `index * 2**level` up to `(index + 1) * 2**level`. Tiles, a database
or a list in memory can all be read that way. Verifiers see hashes alone; what they are given
may come from anyone, so sizes and lengths are checked before anything is hashed.

    root of n leaves = hash(0x01 || root of the largest power of two below n || root of the rest)

A prover's wrong argument is a `ValueError`; a proof that does not hold, `InvalidProofError`.

Source:
    RFC 6962, section 2.1 (hashing and proofs); RFC 9162, sections 2.1.3.2 and 2.1.4.2
    (verification, for the same trees).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeAlias

from protocols.errors import InvalidProofError
from protocols.tlog.lines import HASH_SIZE, MAX_SIZE

Node: TypeAlias = Callable[[int, int], bytes]

EMPTY_ROOT = sha256(b"").digest()
_LEAF = b"\x00"
_INNER = b"\x01"


def hash_leaf(entry: bytes) -> bytes:
    """Hash one entry; the prefix keeps a leaf from posing as an inner node."""
    return sha256(_LEAF + entry).digest()


def hash_children(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees into the one above."""
    return sha256(_INNER + left + right).digest()


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """Return the root over leaf hashes, all at once and level by level."""
    level = list(leaf_hashes)
    if not level:
        return EMPTY_ROOT
    while len(level) > 1:
        evens, odds = level[::2], level[1::2]
        above = [sha256(_INNER + a + b).digest() for a, b in zip(evens, odds, strict=False)]
        # A node without a sibling stands for itself one level up.
        level = above if len(level) % 2 == 0 else [*above, level[-1]]
    return level[0]


class Frontier:
    """An append-only tree of which only the full subtrees of its right edge are kept.

    64 hashes at most, for any number of leaves: enough to append and to give the root, not
    enough to prove inclusion.
    """

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        if not 0 <= size <= MAX_SIZE or len(hashes) != size.bit_count():
            raise ValueError(f"frontier: {len(hashes)} hashes do not fit size {size}")
        if any(len(item) != HASH_SIZE for item in hashes):
            raise ValueError(f"frontier: a hash is not of {HASH_SIZE} bytes")
        self._size = size
        self._hashes = list(hashes)

    @property
    def size(self) -> int:
        """The number of leaves."""
        return self._size

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """The roots of the full subtrees, largest first; with `size`, the whole state."""
        return tuple(self._hashes)

    def append(self, leaf_hash: bytes) -> None:
        """Add one leaf."""
        found, left = leaf_hash, self._size
        while left & 1:
            found = hash_children(self._hashes.pop(), found)
            left >>= 1
        self._hashes.append(found)
        self._size += 1

    def root(self) -> bytes:
        """Return the root over all leaves so far."""
        return fold_right(self._hashes)


def fold_right(hashes: Sequence[bytes]) -> bytes:
    """Join the full subtrees of a right edge, largest first, into one root."""
    if not hashes:
        return EMPTY_ROOT
    found = hashes[-1]
    for left in reversed(hashes[:-1]):
        found = hash_children(left, found)
    return found


@dataclass(frozen=True, slots=True)
class Subtree:
    """The claim that the leaves `start` to `end - 1` of a log have this hash."""

    start: int
    end: int
    hash: bytes


def is_subtree(start: int, end: int) -> bool:
    """Whether the leaves `start` to `end - 1` are a subtree of some larger tree.

    Source:
        draft-ietf-plants-merkle-tree-certs-06, section 4.1, without the empty subtree.
    """
    return 0 <= start < end <= MAX_SIZE and start % _power_from(end - start) == 0


def subtree_hash(start: int, end: int, node: Node) -> bytes:
    """Return the hash over the leaves `start` to `end - 1` of a subtree."""
    if not is_subtree(start, end):
        raise ValueError(f"[{start}, {end}) is no subtree")
    hashes, at = [], start
    for level in reversed(range((end - start).bit_length())):
        if (end - start) >> level & 1:
            hashes.append(node(level, at >> level))
            at += 1 << level
    return fold_right(hashes)


def root_at(size: int, node: Node) -> bytes:
    """Return the root over the first `size` leaves."""
    return subtree_hash(0, size, node) if size else EMPTY_ROOT


def prove_inclusion(index: int, size: int, node: Node) -> list[bytes]:
    """Return the hashes that lead from leaf `index` to the root at `size`, leaf's sibling first.

    Source:
        RFC 6962, section 2.1.1.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    proof, low, high = [], 0, size
    while high - low > 1:
        middle = low + _power_below(high - low)
        if index < middle:
            proof.append(subtree_hash(middle, high, node))
            high = middle
        else:
            proof.append(subtree_hash(low, middle, node))
            low = middle
    return proof[::-1]


def prove_consistency(old_size: int, new_size: int, node: Node) -> list[bytes]:
    """Return the hashes that show the first `old_size` leaves unchanged at `new_size`.

    Source:
        RFC 6962, section 2.1.2.
    """
    return prove_subtree(0, old_size, new_size, node)


def prove_subtree(start: int, end: int, size: int, node: Node) -> list[bytes]:
    """Return the hashes that show a subtree to be part of the tree at `size`.

    Source:
        draft-ietf-plants-merkle-tree-certs-06, section 4.4.1; with `start` 0 the same as
        RFC 6962, section 2.1.2.
    """
    if not is_subtree(start, end) or not end <= size <= MAX_SIZE:
        raise ValueError(f"[{start}, {end}) is no subtree of a tree of {size}")
    proof, low, high, known = [], 0, size, True
    while (low, high) != (start, end):
        middle = low + _power_below(high - low)
        if end <= middle:
            proof.append(subtree_hash(middle, high, node))
            high = middle
        else:
            proof.append(subtree_hash(low, middle, node))
            # A subtree that spans the middle begins at `low`: what is left of it is a node
            # that the verifier does not know.
            known = known and start >= middle
            low, start = middle, max(start, middle)
    if not known:
        proof.append(subtree_hash(low, high, node))
    return proof[::-1]


def verify_inclusion(
    index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes], root: bytes
) -> None:
    """Return only if the leaf stands at `index` of the tree with this size and root.

    Raises:
        InvalidProofError: it is not shown to.
    Source:
        RFC 9162, section 2.1.3.2.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise InvalidProofError(f"inclusion: no leaf {index} in a tree of {size}")
    _check_hashes("inclusion", leaf_hash, root, *proof)
    at, last, found = index, size - 1, leaf_hash
    for sibling in proof:
        if last == 0:
            raise InvalidProofError(f"inclusion: {len(proof)} hashes are too many for size {size}")
        if at & 1 or at == last:
            found = hash_children(sibling, found)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            found = hash_children(found, sibling)
        at, last = at >> 1, last >> 1
    if last != 0:
        raise InvalidProofError(f"inclusion: {len(proof)} hashes are too few for size {size}")
    if found != root:
        raise InvalidProofError("inclusion: the proof does not lead to the root")


def verify_consistency(
    old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Return only if the old tree is shown to be the beginning of the new one.

    A tree of size 0 is the beginning of every tree and proves nothing: it is refused here,
    and whoever accepts it says so.

    Raises:
        InvalidProofError: it is not shown to be.
    Source:
        RFC 9162, section 2.1.4.2.
    """
    if not 0 < old_size <= new_size <= MAX_SIZE:
        raise InvalidProofError(f"consistency: no proof leads from size {old_size} to {new_size}")
    verify_subtree(Subtree(0, old_size, old_root), new_size, proof, new_root)


def verify_subtree(part: Subtree, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Return only if `part` is shown to lie in the tree with this size and root.

    Raises:
        InvalidProofError: it is not shown to.
    Source:
        draft-ietf-plants-merkle-tree-certs-06, section 4.4.3; with `start` 0 the same as
        RFC 9162, section 2.1.4.2.
    """
    start, end = part.start, part.end
    if not is_subtree(start, end) or not end <= size <= MAX_SIZE:
        raise InvalidProofError(f"consistency: [{start}, {end}) is no subtree of size {size}")
    _check_hashes("consistency", part.hash, root, *proof)
    low, last, top = start, end - 1, size - 1
    # (1) Climb to the largest node in which the subtree ends just where the node does.
    while low != last and (last == top or last & 1):
        low, last, top = low >> 1, last >> 1, top >> 1
    # A subtree that is one node at that height is known already; otherwise the proof names it.
    hashes = [part.hash, *proof] if low == last else list(proof)
    if not hashes:
        raise InvalidProofError(f"consistency: no hashes for [{start}, {end}) in size {size}")
    part_found = root_found = hashes[0]
    # (2) Fold the rest into both: what is left of the subtree's edge belongs to both.
    for item in hashes[1:]:
        if top == 0:
            raise InvalidProofError(f"consistency: too many hashes for size {size}")
        if last & 1 or last == top:
            if low < last:
                part_found = hash_children(item, part_found)
            root_found = hash_children(item, root_found)
            while last and not last & 1:
                low, last, top = low >> 1, last >> 1, top >> 1
        else:
            root_found = hash_children(root_found, item)
        low, last, top = low >> 1, last >> 1, top >> 1
    if top != 0:
        raise InvalidProofError(f"consistency: too few hashes for size {size}")
    if part_found != part.hash or root_found != root:
        raise InvalidProofError("consistency: the proof does not lead to both roots")


def verify_subtree_inclusion(
    index: int, part: Subtree, leaf_hash: bytes, proof: Sequence[bytes]
) -> None:
    """Return only if leaf `index` of the whole tree is shown to lie in `part`.

    Raises:
        InvalidProofError: it is not shown to.
    Source:
        draft-ietf-plants-merkle-tree-certs-06, section 4.3.
    """
    if not is_subtree(part.start, part.end):
        raise InvalidProofError(f"inclusion: [{part.start}, {part.end}) is no subtree")
    size = part.end - part.start
    verify_inclusion(index - part.start, size, leaf_hash, proof, part.hash)


def _check_hashes(subject: str, *hashes: bytes) -> None:
    for item in hashes:
        if len(item) != HASH_SIZE:
            raise InvalidProofError(f"{subject}: a hash of {len(item)} bytes, not {HASH_SIZE}")


def _power_below(size: int) -> int:
    """Return the largest power of two below `size`, which is 2 or more."""
    return 1 << ((size - 1).bit_length() - 1)


def _power_from(size: int) -> int:
    """Return the smallest power of two that is `size` or more."""
    return 1 << (size - 1).bit_length()
