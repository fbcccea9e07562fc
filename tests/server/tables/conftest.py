"""One contributor of one epoch, its tables, and a store to publish them to."""

import random
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.state.database import open_state
from protocols.epoch.manifest import NO_PREVIOUS, EpochManifest
from protocols.group.select import load_group
from protocols.lookup.delta import Delta, make_delta, merge
from protocols.lookup.header import SignedHeader
from protocols.lookup.record import RECORD_SIZE
from protocols.oprf.keygen import generate_key
from protocols.oprf.setup import Setup
from protocols.oprf.suite import Mode, Suite
from protocols.program import run_together
from server.keeping.locks import DatabaseLocks
from server.keeping.place import Keeping
from server.tables.store import Tables

HUB, EPOCH, NUMBER = "lianfang", 5, 7
NAMES = ("hub", "police", "telecom")


@dataclass
class Contributor:
    """Makes deltas over its own copy of its table."""

    identity: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    data: bytes = b""
    signed: SignedHeader | None = None
    source: random.Random = field(default_factory=lambda: random.Random(76))

    def records(self, count):
        return [self.source.randbytes(RECORD_SIZE) for _ in range(count)]

    def delta(self, upserted=(), removed=(), **changes) -> Delta:
        """The next delta; the copy stays as it is."""
        names = {"hub": HUB, "epoch": EPOCH, "contributor": "police", "number": NUMBER, "now": 1}
        return make_delta(
            self.identity, self.data, self.signed, removed=removed, upserted=upserted,
            **(names | changes),
        )  # fmt: skip

    def step(self, upserted=(), removed=()) -> Delta:
        """The next delta, applied to the copy."""
        made = self.delta(upserted, removed)
        self.data = b"".join(merge(self.data, made))
        self.signed = made.after
        return made


@pytest.fixture(scope="session")
def manifest():
    suite, source = Suite(load_group(), Mode.VOPRF), random.Random(5).randbytes
    setup = Setup(EPOCH, 2, NAMES, b"session-for-test")
    shares = run_together({name: generate_key(suite, setup, name, source) for name in NAMES})
    return EpochManifest(
        hub=HUB,
        record=shares["hub"].record,
        not_before=0,
        not_after=2_000_000_000,
        grace_s=0,
        contributors={"police": NUMBER, "telecom": 8},
        askers={},
        previous=NO_PREVIOUS,
    )


@pytest.fixture
def police():
    return Contributor()


@pytest.fixture(scope="session")
def shared(postgres, tmp_path_factory):
    """What a hub keeps in PostgreSQL, where several workers find it."""
    address = postgres()
    root = tmp_path_factory.mktemp("hub")
    made = Keeping(root, open_state(address), DatabaseLocks(address), is_shared=True)
    yield made
    made.close()


@pytest.fixture
def fresh(shared):
    """The same, without what the test before has left."""
    for folder in (f"tables/{EPOCH}/police", "acknowledgements"):
        for name in shared.documents(folder).names():
            shared.documents(folder).delete(name)
    return shared


@pytest.fixture(params=["files", "postgres"])
def tables(request, tmp_path, police):
    known = {"police": police.identity.public_key()}
    keeping = None if request.param == "files" else request.getfixturevalue("fresh")
    return Tables(tmp_path / "tables", hub=HUB, identities=known.get, keeping=keeping)
