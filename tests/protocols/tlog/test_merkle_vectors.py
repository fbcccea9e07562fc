"""Published proofs, good and bad; where they come from stands in tests/vectors/tlog/README.md."""

import json
import re
from base64 import b64decode
from hashlib import sha256
from itertools import pairwise

import pytest

from protocols.errors import InvalidProofError
from protocols.tlog.merkle import (
    EMPTY_ROOT,
    Subtree,
    hash_children,
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
    verify_subtree_inclusion,
)

# These are refused here although their source accepts them: roots of other than 32 bytes,
# and empty subtrees, which show nothing about the tree that they are said to lie in.
STRICTER = re.compile(r"sizes-are-equal-one-and-proof-is-empty|/subtree-is-empty-")


def inclusion(vector, proof, root):
    leaf = b64decode(vector["leafHash"])
    verify_inclusion(vector["leafIdx"], vector["treeSize"], leaf, proof, root)


def consistency(vector, proof, root):
    old = b64decode(vector["root1"])
    verify_consistency(vector["size1"], vector["size2"], proof, old, root)


def subtree_inclusion(vector, proof, root):
    part = Subtree(vector["start"], vector["end"], root)
    verify_subtree_inclusion(vector["leafIdx"], part, b64decode(vector["leafHash"]), proof)


def subtree_consistency(vector, proof, root):
    part = Subtree(vector["start"], vector["end"], b64decode(vector["root1"]))
    verify_subtree(part, vector["size"], proof, root)


@pytest.mark.parametrize(
    ("name", "check", "count", "stricter"),
    [
        ("merkle_inclusion", inclusion, 98, 0),
        ("merkle_consistency", consistency, 98, 1),
        ("merkle_subtreeinclusion", subtree_inclusion, 204, 0),
        ("merkle_subtreeconsistency", subtree_consistency, 118, 7),
    ],
)
def test_published_proofs_are_judged_as_published(vectors, name, check, count, stricter):
    listed = [json.loads(line) for line in (vectors / f"{name}.jsonl").read_text().splitlines()]
    seen = 0
    for vector in listed:
        proof = [b64decode(item) for item in vector["proof"] or []]
        root = b64decode(vector.get("root") or vector.get("root2") or "")
        refuse_more = not vector["wantErr"] and bool(STRICTER.search(vector["file"]))
        seen += refuse_more
        try:
            check(vector, proof, root)
            refused = False
        except InvalidProofError:
            refused = True
        assert refused is (vector["wantErr"] or refuse_more), vector["file"]
    assert (len(listed), seen) == (count, stricter)


@pytest.fixture(scope="module")
def reference(vectors):
    return json.loads((vectors / "rfc6962_reference.json").read_text())


def test_reference_nodes_and_roots_are_met(reference):
    leaves = [hash_leaf(bytes.fromhex(item)) for item in reference["leaf_inputs_hex"]]
    nodes = [[bytes.fromhex(item) for item in level] for level in reference["node_hashes_hex"]]
    assert nodes[0] == leaves
    for below, above in pairwise(nodes):
        assert [hash_children(*below[at : at + 2]) for at in range(0, len(below), 2)] == above
    for size, root in enumerate(reference["roots_by_size_hex"]):
        assert root_of(leaves[:size]).hex() == root
        assert root_at(size, lambda level, index: nodes[level][index]).hex() == root


def test_reference_hasher_is_met(reference):
    assert {
        "empty_root": EMPTY_ROOT.hex(),
        'leaf("")': hash_leaf(b"").hex(),
        'leaf("L123456")': hash_leaf(b"L123456").hex(),
        'node("N123","N456")': hash_children(b"N123", b"N456").hex(),
    } == reference["hasher"]


def test_reference_consistency_proofs_are_made_and_hold(reference):
    nodes = [[bytes.fromhex(item) for item in level] for level in reference["node_hashes_hex"]]
    for vector in reference["consistency_proofs"]:
        old, new = vector["size1"], vector["size2"]
        proof = prove_consistency(old, new, lambda level, index: nodes[level][index])
        assert [item.hex() for item in proof] == vector["proof"]
        roots = bytes.fromhex(vector["root1"]), bytes.fromhex(vector["root2"])
        verify_consistency(old, new, proof, *roots)


def test_real_certificate_is_in_its_real_log(reference):
    real = reference["real_ct_inclusion"]
    leaf_hash = hash_leaf(bytes.fromhex(real["leaf_hex"]))
    assert leaf_hash.hex() == real["leaf_hash"]
    proof = [bytes.fromhex(item) for item in real["proof"]]
    place = real["leaf_index"], real["tree_size"]
    verify_inclusion(*place, leaf_hash, proof, bytes.fromhex(real["root"]))


def test_first_path_vectors_are_met(vectors, reference):
    text = (vectors / "ct_cpp_path_vectors.txt").read_text()
    table = text[text.index("kSHA256Paths[6]") : text.index("TEST_F")]
    leaves = [hash_leaf(bytes.fromhex(item)) for item in reference["leaf_inputs_hex"]]

    def node(level, index):
        return root_of(leaves[index << level : (index + 1) << level])

    rows = re.findall(r"\{(\d+),\s*(\d+),\s*(\d+),\s*\{((?:\s*\{[^}]*\},?)+)", table)
    assert len(rows) == 6
    for leaf, size, length, listed in rows:
        hashes = re.findall(r'"([0-9a-f]{64})"', listed)
        assert len(hashes) == int(length)
        if int(leaf):
            found = prove_inclusion(int(leaf) - 1, int(size), node)
            assert [item.hex() for item in found] == hashes


def test_proofs_of_another_implementation_are_ours(vectors):
    leaves = [hash_leaf(b"leaf-%d" % number) for number in range(33)]

    def node(level, index):
        return root_of(leaves[index << level : (index + 1) << level])

    lines = (vectors / "derived_xmod_0.7.0_n33.jsonl").read_text().splitlines()
    for vector in map(json.loads, lines):
        proof = [b64decode(item) for item in vector["proof"]]
        if vector["kind"] == "inclusion":
            index, size = vector["index"], vector["size"]
            assert prove_inclusion(index, size, node) == proof
            verify_inclusion(
                index, size, b64decode(vector["leaf_hash"]), proof, b64decode(vector["root"])
            )
        else:
            old, new = vector["size1"], vector["size2"]
            assert prove_consistency(old, new, node) == proof
            roots = b64decode(vector["root1"]), b64decode(vector["root2"])
            verify_consistency(old, new, proof, *roots)
    assert len(lines) == 1122


def subtrees(most):
    """Yield all subtrees within `most` leaves in the order of the draft, empty ones too."""
    for end in range(most + 1):
        for start in range(end + 1):
            if start == end or is_subtree(start, end):
                yield start, end


def listed_hashes(proof):
    return "".join(f" {item.hex()}" for item in proof)


# draft-ietf-plants-merkle-tree-certs-06, appendix C.1: one digest over all outputs.
def test_all_subtree_hashes_fold_to_the_published_digest(bytes_log, reference):
    digest = sha256()
    for start, end in subtrees(130):
        found = subtree_hash(start, end, bytes_log.node) if start < end else EMPTY_ROOT
        digest.update(f"[{start}, {end}) {found.hex()}\n".encode())
    assert digest.hexdigest() == reference["accumulated_subtree_digests"]["subtree_hash"]


def test_all_subtree_inclusion_proofs_fold_to_the_published_digest(bytes_log, reference):
    digest = sha256()
    for start, end in subtrees(130):
        for index in range(start, end):
            proof = prove_inclusion(
                index - start,
                end - start,
                lambda level, at, start=start: bytes_log.node(level, at + (start >> level)),
            )
            digest.update(f"{index} [{start}, {end}){listed_hashes(proof)}\n".encode())
            part = Subtree(start, end, subtree_hash(start, end, bytes_log.node))
            verify_subtree_inclusion(index, part, bytes_log.leaves[index], proof)
    assert digest.hexdigest() == reference["accumulated_subtree_digests"]["subtree_inclusion"]


def test_all_subtree_consistency_proofs_fold_to_the_published_digest(bytes_log, reference):
    digest = sha256()
    for size in range(131):
        root = root_at(size, bytes_log.node)
        for start, end in subtrees(size):
            proof = prove_subtree(start, end, size, bytes_log.node) if start < end else []
            digest.update(f"[{start}, {end}) {size}{listed_hashes(proof)}\n".encode())
            if start < end:
                part = Subtree(start, end, subtree_hash(start, end, bytes_log.node))
                verify_subtree(part, size, proof, root)
    assert digest.hexdigest() == reference["accumulated_subtree_digests"]["subtree_consistency"]
