"""The vectors, a log in memory, and keys that everyone may know."""

from functools import cache
from pathlib import Path

import pytest

from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.merkle import hash_children, hash_leaf, root_at
from protocols.tlog.note import KeyKind, Note, Signer, sign_note

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "tlog"


class MemoryLog:
    """Leaves in a list; `node` reads them as provers do."""

    def __init__(self, entries):
        self.entries = list(entries)
        self.leaves = [hash_leaf(entry) for entry in self.entries]
        self.node = cache(self._node)

    def _node(self, level, index):
        if level == 0:
            return self.leaves[index]
        return hash_children(self.node(level - 1, 2 * index), self.node(level - 1, 2 * index + 1))


@pytest.fixture(scope="session")
def vectors():
    return VECTORS


@pytest.fixture(scope="session")
def log():
    return MemoryLog(b"entry %d" % number for number in range(700))


@pytest.fixture(scope="session")
def bytes_log():
    """The tree of draft-ietf-plants-merkle-tree-certs, appendix C: leaf i is the byte i."""
    return MemoryLog(bytes([number]) for number in range(130))


@pytest.fixture(scope="session")
def log_signer():
    return Signer.from_seed("hub.example/audit/2026", KeyKind.ED25519, b"l" * 32)


@pytest.fixture(scope="session")
def witness_signer():
    return Signer.from_seed("witness.example/police", KeyKind.COSIGNATURE, b"w" * 32)


@pytest.fixture(scope="session")
def ml_dsa_signer():
    return Signer.from_seed("witness.example/telecom", KeyKind.SUBTREE, b"m" * 32)


@pytest.fixture(scope="session")
def golden(vectors):
    return vectors / "golden_cosigned_log"


@pytest.fixture(scope="session")
def make_checkpoint(log, log_signer):
    """A checkpoint of the log in memory, or of one with another past, signed by its log."""

    def make(size, *, root=None, signer=log_signer, origin=None, extensions=()):
        found = Checkpoint(
            origin or log_signer.name, size, root or root_at(size, log.node), extensions
        )
        return found, Note(found.format(), (sign_note(found.format(), signer),))

    return make
