"""A hub's log over memory, and three partners' witnesses behind links that can be cut."""

import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from clients.node.home import Home
from clients.witness.keys import create_witness_keys
from clients.witness.pins import Pin, Pins
from clients.witness.service import open_witness, witness_folder
from compliance.clock import FixedClock
from compliance.log.alarms import LogAlarms
from compliance.log.log import Log
from compliance.log.memory import MemoryStorage
from compliance.log.second import FileCheckpoints
from compliance.policy.actors import StaffRole
from compliance.staff.acting import Acting
from protocols.link import TransportError
from protocols.tlog.asking import ADD_CHECKPOINT
from protocols.tlog.entry import Agreement, Decision, Entry, Outcome, Verb
from protocols.tlog.note import KeyKind, Signer
from server.log.places import StandingPlace
from server.log.witnesses import Listed, Witnesses
from server.log.witnessing import AskedWitness, Witnessing

ORIGIN = "hub.example/audit/2026"
NOW = 1_795_305_600
PARTNERS = ("insurer", "police", "telecom")
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


class Links:
    """Standing links to witnesses in this process; `cut` are away, `held` do not answer."""

    def __init__(self, witnesses):
        self.witnesses = dict(witnesses)
        self.cut = set()
        self.held = {}
        self.asked = []

    def hold(self, name):
        """Let requests to a witness hang until the event is set."""
        self.held[name] = threading.Event()
        return self.held[name]

    def ask(self, holder, kind, body, timeout_s):
        assert kind == ADD_CHECKPOINT
        self.asked.append(holder)
        if holder in self.cut:
            raise TransportError(f"{holder}: not connected", retryable=True, party=holder)
        if holder in self.held and not self.held[holder].wait(timeout_s):
            raise TransportError(f"{holder}: no answer", retryable=True, party=holder)
        return self.witnesses[holder].answer(body)


class Hub:
    """One hub: a log of its own history, and the witnessing of it."""

    def __init__(self, directory, town, links, *, branch="trunk", **timing):
        self.clock = town.clock
        self.storage = MemoryStorage()
        self.second = FileCheckpoints(directory / "second")
        self.alarms = LogAlarms(directory / "alarms")
        self.branch = branch
        self.witnessing = Witnessing(
            [AskedWitness(at.name, at.keys, StandingPlace(links, at.name)) for at in town.listed],
            policy_of=lambda _: town.policy,
            alarms=self.alarms,
            size_of=lambda origin: self.storage.edge(origin).size,
            clock=self.clock,
            **timing,
        )
        self.town = town
        self.log = self.open()

    def open(self):
        return Log(
            self.storage,
            self.second,
            self.town.signer,
            policy=self.town.policy,
            cosign=self.witnessing.cosign,
            clock=self.clock,
            window_s=0,
        )

    def append(self, count, branch=None):
        for _ in range(count):
            text = f"{branch or self.branch} {self.log.size}"
            self.log.append(replace(ENTRY, commitment=text.encode().ljust(32)))

    def states(self):
        return {item.name: str(item.standing) for item in self.witnessing.states()}

    def close(self):
        self.witnessing.close()
        self.alarms.close()


@pytest.fixture
def town(tmp_path):
    """The log's key, three witnesses that know it, and the policy: two of three."""
    clock = FixedClock(NOW)
    signer = Signer.from_seed(ORIGIN, KeyKind.ED25519, b"l" * 32)
    witnesses = {}
    for name in PARTNERS:
        root = tmp_path / name
        create_witness_keys(Home(root).keys, f"{name}/witness")
        Pins(witness_folder(root)).add(Pin(signer.key, True, 3600, NOW))
        witnesses[name] = open_witness(root, clock=clock)
    listed = tuple(Listed(name, tuple(item.keys)) for name, item in witnesses.items())
    policy = Witnesses(2, listed).policy([signer.key])
    yield SimpleNamespace(
        clock=clock, signer=signer, witnesses=witnesses, listed=listed, policy=policy
    )
    for witness in witnesses.values():
        witness.stop()


@pytest.fixture
def links(town):
    return Links(town.witnesses)


@pytest.fixture
def make_hub(tmp_path, town, links):
    """Make a hub with the log's key; a second one is a second process, or a liar."""
    made = []

    def make(name="hub", *, through=links, **fields):
        hub = Hub(tmp_path / name, town, through, **fields)
        made.append(hub)
        return hub

    yield make
    for event in links.held.values():
        event.set()
    for hub in made:
        hub.close()


@pytest.fixture
def hub(make_hub):
    return make_hub()


@pytest.fixture(scope="session")
def approvers():
    """Return the two people at a hub who take partners in."""
    return lambda office: Acting(
        office.person("amy", [StaffRole.APPROVER]), office.person("carl", [StaffRole.COMPLIANCE])
    )
