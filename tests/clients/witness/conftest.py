"""Histories of a log, right and wrong, and witnesses in directories of their own."""

from functools import cache
from pathlib import Path

import pytest

from clients.node.home import Home
from clients.witness.keys import create_witness_keys
from clients.witness.pins import Pin, Pins
from clients.witness.service import open_witness, witness_folder
from compliance.clock import FixedClock
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.merkle import hash_children, hash_leaf, prove_consistency, root_at
from protocols.tlog.note import KeyKind, Note, Signer, sign_note
from protocols.tlog.witness import AddCheckpoint

NOW = 1_795_305_600
VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "tlog"


class History:
    """One history of a log: `branch` differs from `trunk` from entry `parted` on."""

    def __init__(self, signer, branch="trunk", parted=0, size=600):
        self.signer = signer
        names = ["trunk"] * parted + [branch] * (size - parted)
        self.leaves = [hash_leaf(f"{name} {at}".encode()) for at, name in enumerate(names)]
        self.node = cache(self._node)

    def _node(self, level, index):
        if level == 0:
            return self.leaves[index]
        return hash_children(self.node(level - 1, 2 * index), self.node(level - 1, 2 * index + 1))

    def note(self, size, *, signer=None, root=None, origin=None):
        signer = signer or self.signer
        text = Checkpoint(
            origin or self.signer.name, size, root or root_at(size, self.node)
        ).format()
        return Note(text, (sign_note(text, signer),))

    def request(self, old, size, *, proof=None, **fields):
        """The body of a request from size `old` to `size`."""
        if proof is None:
            proof = prove_consistency(old, size, self.node) if 0 < old <= size else []
        return AddCheckpoint(old, tuple(proof), self.note(size, **fields)).encode()


@pytest.fixture(scope="session")
def vectors():
    return VECTORS


@pytest.fixture(scope="session")
def log_signer():
    return Signer.from_seed("hub.example/audit/2026", KeyKind.ED25519, b"l" * 32)


@pytest.fixture(scope="session")
def trunk(log_signer):
    return History(log_signer)


@pytest.fixture(scope="session")
def make_history(log_signer):
    def make(branch, parted, signer=log_signer):
        return History(signer, branch, parted)

    return make


@pytest.fixture
def clock():
    return FixedClock(NOW)


@pytest.fixture
def open_at(tmp_path, log_signer, clock):
    """Open the witness in NODE/<name>, again if it was closed; it knows the log."""
    opened = []

    def run(name="police", *, key=log_signer.key, every_year=True):
        root = tmp_path / name
        create_witness_keys(Home(root).keys, f"{name}/witness")
        if key is not None:
            Pins(witness_folder(root)).add(Pin(key, every_year, 3600, NOW))
        witness = open_witness(root, clock=clock)
        opened.append(witness)
        return witness

    yield run
    for witness in opened:
        witness.stop()


@pytest.fixture
def witness(open_at):
    return open_at()
