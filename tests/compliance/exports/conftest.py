"""A log with entries of many kinds, its witnesses, its exports, and a checker of its own."""

import subprocess
import sys
import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.agreement.document import contract_reference
from compliance.agreement.drafting import draft_agreement
from compliance.agreement.profile import shipped_profile
from compliance.agreement.signing import SignedAgreement, sign_agreement
from compliance.agreement.terms import Party
from compliance.agreement.vocabulary import Role, Title
from compliance.clock import FixedClock
from compliance.exports.source import open_source
from compliance.log.draft import draft_entry
from compliance.log.export import export_log
from compliance.log.log import Log
from compliance.log.memory import MemoryStorage
from compliance.log.second import FileCheckpoints
from protocols.dp.events import Gaussian
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.cosignature import sign_checkpoint
from protocols.tlog.entry import Agreement, Charge, Decision, Entry, Outcome, Verb
from protocols.tlog.note import KeyKind, Signer
from protocols.tlog.policy import Group, Policy, Witness
from protocols.tlog.policy import Log as KnownLog
from protocols.vertical.contract import Contract, Numeric

ORIGIN = "hub.example/audit/2026"
NOW = 1_795_305_600  # 2026-11-22 00:00 UTC, 8 o'clock in Taipei
INDEPENDENT = Path(__file__).with_name("independent.py")
FRAUD = "https://w3id.org/dpv#FraudPreventionAndDetection"
CARE = "https://w3id.org/dpv#CommunicationForCustomerCare"

ENTRY = Entry(
    sequence=0,
    time=NOW,
    organisation="insurer",
    actor=b"a" * 16,
    verb=Verb.CONSULT,
    act="evaluate",
    purpose=FRAUD,
    basis="tw/pdpa-20-4",
    agreement=Agreement("joint-defence", b"a" * 32),
    policy_set=b"p" * 32,
    policies=("desk-checks",),
    decision=Decision.PERMIT,
    outcome=Outcome.DONE,
    subject_matter="fraud-reports",
    recipients=("insurer",),
    count=1,
    document=None,
    charge=None,
    commitment=b"c" * 32,
)


def make_entry(number, **changes):
    """An entry that no other number has."""
    unique = {"time": NOW + number, "commitment": number.to_bytes(32, "big")}
    return replace(ENTRY, **(unique | changes))


def refusal(number, **changes):
    plain = {"decision": Decision.DENY, "outcome": Outcome.REFUSED, "recipients": ()}
    return make_entry(number, **(plain | changes))


def charge(number, run="run-1", recipients=("police",), noise=40.0, **changes):
    scopes = tuple(("people", "telecom", name) for name in recipients)
    paid = Charge(run, f"release.{number}", scopes, Gaussian(noise))
    return make_entry(
        number, organisation="telecom", verb=Verb.COMBINE, charge=paid, recipients=recipients,
        policies=("partners-take-part",), **changes,
    )  # fmt: skip


class World:
    """One log over memory, three witnesses of both kinds of keys, of which two are a quorum."""

    def __init__(self, directory):
        self.directory = directory
        self.clock = FixedClock(NOW + 86_400)
        self.signer = Signer.from_seed(ORIGIN, KeyKind.ED25519, b"l" * 32)
        kinds = (KeyKind.COSIGNATURE, KeyKind.COSIGNATURE, KeyKind.SUBTREE)
        self.witnesses = {
            name: Signer.from_seed(f"{name}.example/witness", kind, name[:2].encode() * 16)
            for name, kind in zip(("insurer", "telecom", "police"), kinds, strict=True)
        }
        self.policy = Policy(
            (KnownLog(self.signer.key),),
            tuple(Witness(name, item.key) for name, item in self.witnesses.items()),
            (Group("orgs", 2, tuple(self.witnesses)),),
            "orgs",
        )
        self.policy_file = directory / "policy.txt"
        self.policy_file.write_bytes(self.policy.encode())
        self.count = 0

    def cosign(self, note, prove):
        checkpoint = Checkpoint.parse(note.text)
        now = self.clock.now()
        return [sign_checkpoint(checkpoint, item, now) for item in self.witnesses.values()]

    def open(self, storage=None):
        """A log of this key, with places of its own: two of them can be forks of each other."""
        self.count += 1
        second = FileCheckpoints(self.directory / f"second-{self.count}")
        settings = {"policy": self.policy, "cosign": self.cosign, "clock": self.clock}
        storage = storage or MemoryStorage()
        return storage, Log(storage, second, self.signer, **settings)

    def publish(self, entries, name="export", opened=None, **_):
        """Append entries in one batch, have the log witnessed, and export it."""
        storage, log = opened or self.open()
        log._commit([draft_entry(entry, None) for entry in entries])
        log.checkpoint()
        directory = self.directory / name
        export_log(storage, ORIGIN, directory)
        return directory

    def unpack(self, pack, name):
        directory = self.directory / name
        with zipfile.ZipFile(pack) as archive:
            archive.extractall(directory)
        return directory

    def second_opinion(self, *arguments, text=None):
        """What the independent program says; empty if it finds nothing wrong."""
        done = subprocess.run(
            [sys.executable, "-I", INDEPENDENT, *arguments],
            capture_output=True, text=True, input=text, check=False, cwd=self.directory,
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stderr
        return done.stderr.strip() if done.returncode else ""


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture
def tools():
    return SimpleNamespace(
        make_entry=make_entry, refusal=refusal, charge=charge, ENTRY=ENTRY, NOW=NOW, FRAUD=FRAUD,
        CARE=CARE, ORIGIN=ORIGIN, open_source=open_source,
    )  # fmt: skip


@pytest.fixture
def mixed():
    """600 entries, among them refusals, charges, another purpose and another recipient."""
    found = []
    for number in range(600):
        match number % 10:
            case 3:
                found.append(refusal(number, policies=("no-case-no-look",)))
            case 5:
                found.append(make_entry(number, purpose=CARE, recipients=("insurer", "police")))
            case 7 if number < 100:
                found.append(charge(number))
            case _:
                found.append(make_entry(number))
    return found


SECTORS = {"hub": "operator", "insurer": "life-insurance", "police": "police", "telecom": "telecom"}


@pytest.fixture
def parties():
    """The identity keys of the four parties."""
    return {
        name: Ed25519PrivateKey.from_private_bytes(sha256(name.encode()).digest())
        for name in SECTORS
    }


@pytest.fixture
def agreement(parties):
    """An agreement between the four, as it is drafted."""
    contracts = {
        name: contract_reference(Contract((Numeric(f"{name}-a", 0.0, 9.0),), label=label))
        for name, label in (("insurer", "fraud"), ("police", None), ("telecom", None))
    }
    members = [
        Party(name, Role(name), Title(name.title(), name), key.public_key().public_bytes_raw(),
              SECTORS[name], "TW")
        for name, key in parties.items()
    ]  # fmt: skip
    return draft_agreement(
        hub="lianfang.example", name="joint-defence", profile=shipped_profile("tw"),
        parties=members, contracts=contracts, not_before=NOW, not_after=NOW + 86_400 * 300,
    )  # fmt: skip


@pytest.fixture
def signed(agreement, parties):
    """The same, signed by all."""
    lines = {name: sign_agreement(key, agreement, name) for name, key in parties.items()}
    return SignedAgreement(agreement, lines)
