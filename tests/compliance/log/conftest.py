"""Storages of every kind, a real PostgreSQL, and a full check of a log against its storage."""

import random
from dataclasses import replace
from types import SimpleNamespace

import pytest

from compliance.clock import FixedClock
from compliance.log.draft import draft_entry
from compliance.log.log import Log
from compliance.log.memory import MemoryStorage
from compliance.log.private import PrivateParts
from compliance.log.second import FileCheckpoints
from compliance.log.sqlstore import SqlStorage
from compliance.state.engine import open_engine
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.cosignature import sign_checkpoint
from protocols.tlog.entry import Agreement, Decision, Entry, Outcome, Verb
from protocols.tlog.merkle import hash_leaf
from protocols.tlog.note import KeyKind, Note, Signer
from protocols.tlog.policy import NONE, Group, Policy, Witness
from protocols.tlog.policy import Log as KnownLog
from protocols.tlog.tiles import TileBuilder

ORIGIN = "hub.example/audit/2026"
NOW = 1_795_305_600

ENTRY = Entry(
    sequence=0,
    time=NOW,
    organisation="insurer",
    actor=b"a" * 16,
    verb=Verb.CONSULT,
    act="evaluate",
    purpose="https://w3id.org/dpv#FraudPreventionAndDetection",
    basis="tw.fraud-act.art-7-ii",
    agreement=Agreement("tri-party-2026", b"a" * 32),
    policy_set=b"p" * 32,
    policies=("lookup.within-purpose",),
    decision=Decision.PERMIT,
    outcome=Outcome.DONE,
    subject_matter="fraud-reports",
    recipients=("insurer",),
    count=1,
    document=None,
    charge=None,
    commitment=b"c" * 32,
)


def make_entry(number):
    """An entry that no other number has."""
    return replace(ENTRY, time=NOW + number, commitment=number.to_bytes(32, "big"))


class World:
    """A log's key, its witnesses, its two places, and logs opened over them."""

    def __init__(self, storage, directory):
        self.storage = storage
        self.directory = directory
        self.clock = FixedClock(NOW)
        self.signer = Signer.from_seed(ORIGIN, KeyKind.ED25519, b"l" * 32)
        self.witnesses = {
            name: Signer.from_seed(
                f"{name}.example/witness", KeyKind.COSIGNATURE, name[:2].encode() * 16
            )
            for name in ("insurer", "telecom", "police")
        }
        self.awake = set(self.witnesses)
        self.second = FileCheckpoints(directory / "second")

    @property
    def alone(self):
        return Policy((KnownLog(self.signer.key),), (), (), NONE)

    @property
    def policy(self):
        known = tuple(Witness(name, item.key) for name, item in self.witnesses.items())
        group = Group("orgs", 2, tuple(self.witnesses))
        return Policy((KnownLog(self.signer.key),), known, (group,), "orgs")

    def cosign(self, note, prove):
        checkpoint = Checkpoint.parse(note.text)
        now = self.clock.now()
        return [sign_checkpoint(checkpoint, self.witnesses[name], now) for name in self.awake]

    def open(self, **changes):
        settings = {"policy": self.policy, "cosign": self.cosign, "clock": self.clock}
        storage, second = self.storage, self.second
        storage, second = changes.pop("storage", storage), changes.pop("second", second)
        return Log(storage, second, changes.pop("signer", self.signer), **settings | changes)

    def sizes(self):
        """How far the log, the second place and the published checkpoint have come."""
        if ORIGIN not in self.storage.origins():
            return 0, 0, 0
        notes = (self.second.load(ORIGIN), self.storage.checkpoint(ORIGIN))
        found = (data and Checkpoint.parse(Note.decode(data).text).size for data in notes)
        return self.storage.edge(ORIGIN).size, *found

    def fill(self, log, size):
        """Append the first entries in one batch."""
        drafts = [draft_entry(make_entry(number), None) for number in range(size)]
        assert log._commit(drafts) == list(range(size))

    def check_log(self, size):
        """Compute everything about the log anew from its entries, and compare all of it."""
        storage = self.storage
        edge = storage.edge(ORIGIN)
        assert edge.size == size
        entries = storage.entries(ORIGIN, 0, size)
        builder = TileBuilder()
        for number, data in enumerate(entries):
            assert Entry.decode(data).sequence == number
            for tile, content in builder.append(hash_leaf(data)):
                assert storage.full_tile(ORIGIN, tile.level, tile.index) == content
        assert edge.root() == builder.root()
        sizes = []
        for data in (storage.checkpoint(ORIGIN), self.second.load(ORIGIN)):
            if data is None:
                sizes.append(-1)
                continue
            checkpoint = Checkpoint.parse(Note.decode(data).text)
            part = TileBuilder()
            part.extend(map(hash_leaf, entries[: checkpoint.size]))
            assert checkpoint.size <= size
            assert part.root() == checkpoint.root
            sizes.append(checkpoint.size)
        assert sizes[0] <= sizes[1]
        return entries


def _address(kind, tmp_path, request):
    match kind:
        case "sqlite":
            return f"sqlite:///{tmp_path}/log.db"
        case "postgres":
            return request.getfixturevalue("postgres")()


@pytest.fixture(params=["sqlite", "postgres"])
def address(request, tmp_path):
    """The address of a fresh database."""
    return _address(request.param, tmp_path, request)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def storage(request, tmp_path):
    """A fresh storage of every kind."""
    if request.param == "memory":
        yield MemoryStorage()
        return
    found = SqlStorage.open(_address(request.param, tmp_path, request))
    yield found
    found.close()


@pytest.fixture
def memory_world(tmp_path):
    """Where the kind of storage does not matter."""
    return World(MemoryStorage(), tmp_path)


@pytest.fixture
def world(storage, tmp_path):
    """A log's surroundings over a storage of every kind."""
    return World(storage, tmp_path)


@pytest.fixture
def tools():
    """What tests build with."""
    return SimpleNamespace(
        World=World,
        make_entry=make_entry,
        ENTRY=ENTRY,
        ORIGIN=ORIGIN,
        NOW=NOW,
        make_parts=make_parts,
        open_engine=open_engine,
    )


def make_parts(storage, seed=1):
    """The private parts of one organisation, with keys that are the same every time."""
    return PrivateParts(
        storage, master_key=b"m" * 32, index_key=b"i" * 32, random=random.Random(seed).randbytes
    )
