"""Shared by all tests: how threads wait, and an agreement that all parties have signed."""

import os

# Read once, when the first library with threads is loaded: threads that wait by spinning
# make a loaded machine of two cores fifty times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from dataclasses import dataclass, replace

import pytest

from compliance.agreement.document import MAX_DURATION_S, Agreement, contract_reference
from compliance.agreement.drafting import DATABASE, FRAUD
from compliance.agreement.profile import shipped_bytes, shipped_profile
from compliance.agreement.revocation import revoke
from compliance.agreement.signing import SignedAgreement, sign_agreement
from compliance.agreement.terms import (
    Approvers,
    Asker,
    Caps,
    ContractReference,
    Flow,
    Keys,
    Party,
    Retention,
    Training,
)
from compliance.agreement.vocabulary import Channel, Role, Title, What, purposes
from compliance.policy.actors import StaffRole
from compliance.staff.accounts import Account, State
from compliance.staff.passwords import Cost
from compliance.staff.staff import Staff
from protocols.vertical.plan import HUB, MAX_DELTA, MAX_EPSILON
from server.keeping.place import keeping_of

# From 2019 for the ten years that an agreement may last: the present, and what tests take for it.
BEGINS = 1_546_300_800
QUOTA = 10**7
SECTORS = {"hub": "operator", "insurer": "life-insurance", "police": "police", "telecom": "telecom"}


@dataclass(frozen=True)
class Agreed:
    """An agreement, the keys of its parties, and all their signatures."""

    agreement: Agreement
    signed: SignedAgreement
    keys: dict

    @property
    def identities(self):
        """The public keys, as a store pins them."""
        return {name: key.public_key() for name, key in self.keys.items()}

    def by(self, *names):
        """The same with the signatures of these alone."""
        signatures = {name: self.signed.signatures[name] for name in names}
        return replace(self.signed, signatures=signatures)

    def revocation(self, party, *, now, reason="breach"):
        """The word of one party that it has ended."""
        return revoke(self.keys[party], self.agreement, party, reason=reason, now=now)

    def keep(self, *roots):
        """Keep it in these directories of nodes, under `agreements/`, or of hubs.

        The documents are those of `AgreementStore.keep`; a node's are written without waiting
        for the disk.
        """
        profile, digest = self.agreement.profile, self.agreement.digest.hex()
        files = {
            f"{digest}.json": self.agreement.encode(),
            f"profiles/{profile.digest.hex()}.json": shipped_bytes(profile.id),
        } | {
            f"{digest}.{name}.signature": signature.hex().encode()
            for name, signature in self.signed.signatures.items()
        }
        for root in roots:
            if (root / "hub.json").exists():
                for file, data in files.items():
                    keeping_of(root).shelf("agreements").put(file, data)
                continue
            folder = root / "agreements"
            (folder / "profiles").mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
            for file, data in files.items():
                (folder / file).write_bytes(data)
        return self


@pytest.fixture(scope="session")
def agree():
    """Make an agreement that permits much, signed by all: what a test is not about is allowed."""
    return make_agreed


def make_agreed(keys, *, signed_by=None, **terms):
    """Return an `Agreed` between the holders of these private keys, "hub" among them.

    Args:
        keys: Ed25519 private keys by party name; at least three.
        signed_by: who has signed; everybody if None.
        terms: see `make_agreement`; any field of `Agreement` beside those replaces what it has.
    """
    agreement = make_agreement(
        {name: key.public_key().public_bytes_raw() for name, key in keys.items()}, **terms
    )
    names = agreement.names if signed_by is None else signed_by
    signatures = {name: sign_agreement(keys[name], agreement, name) for name in names}
    return Agreed(agreement, SignedAgreement(agreement, signatures), dict(keys))


def make_agreement(
    identities, *, roles=None, hub="lianfang", contracts=None, begins=BEGINS, ends=None,
    quota=QUOTA, channels=None, holders=None, threshold=2, compute=None, epsilon=None,
    delta=None, membership=("hidden", "shared"), pseudonyms=("oblivious", "keyed"), min_rows=1,
    former=None, **changes,
):  # fmt: skip
    """Return an agreement under which every partner may ask, report and train.

    Args:
        roles: by name; otherwise as the name begins: insurer, police, telecom, hub.
        contracts: `Contract` or `ContractReference` by name; none otherwise, so no training.
        quota: elements for each asker in an epoch, or by name.
        channels: which of them a party may ask in, by name; all for those not named, and an
            empty one makes it no asker.
        holders, compute: names; all parties otherwise.
        epsilon: cap of a run, towards each recipient and in all.
        former: the version before, which this one supersedes.
    """
    names = tuple(identities)
    kinds = {name: _role_of(name, (roles or {}).get(name)) for name in names}
    partners = tuple(name for name in names if name != HUB)
    granted = {name: _channels_of(name, channels) for name in partners}
    cap = MAX_EPSILON if epsilon is None else epsilon
    references = {name: _reference_to(item) for name, item in (contracts or {}).items()}
    found = Agreement(
        hub=hub,
        name="joint-defence",
        version=1 if former is None else former.version + 1,
        title=Title("Joint defence", "聯防協議"),
        profile=shipped_profile("tw").reference,
        parties=tuple(
            Party(name, Role(kind), Title(name, name), identities[name], SECTORS[kind], "TW")
            for name, kind in kinds.items()
        ),
        purposes=(FRAUD, *(iri for iri in purposes() if iri != FRAUD)),
        flows=tuple(_flows_between(kinds)),
        special=(),
        contracts=references,
        caps=Caps(cap, dict.fromkeys(names, cap), cap, MAX_DELTA if delta is None else delta),
        training=Training(compute or names, tuple(membership), tuple(pseudonyms), min_rows),
        keys=Keys(tuple(holders or names), threshold),
        askers={
            name: Asker(quota[name] if isinstance(quota, dict) else quota, asking)
            for name, asking in granted.items()
            if asking
        },
        approvers=Approvers(tuple(references) or partners, names, partners),
        retention=Retention(84, 24, 24, 24),
        not_before=begins,
        not_after=begins + MAX_DURATION_S if ends is None else ends,
        supersedes=None if former is None else former.digest,
    )
    return replace(found, **changes)


def _role_of(name, chosen):
    if chosen is not None:
        return str(chosen)
    found = [kind for kind in SECTORS if name.startswith(kind)]
    if not found:
        raise ValueError(f"role of {name}: give roles={{{name!r}: 'insurer'}}")
    return found[0]


def _channels_of(name, chosen):

    asking = (chosen or {}).get(name, Channel)
    return {
        Channel(item): DATABASE if Channel(item) is Channel.PUBLISH else FRAUD for item in asking
    }


def _flows_between(kinds):
    """Every direction from a partner to anybody; scores to partners alone."""
    gives = {
        What.LOOKUP: ("tw/pdpa-20", "tw/pdpa-16"),
        What.REPORT: ("tw/pdpa-20-4", "tw/pdpa-16-4"),
        What.TRAINING: ("tw/pdpa-20-4", "tw/pdpa-16-4"),
        What.SCORE: ("tw/pdpa-20-4", "tw/pdpa-16-4"),
    }
    receives = {"police": "tw/pdpa-15-1", "hub": "tw/pdpa-4"}
    for source, giver in kinds.items():
        for recipient, receiver in kinds.items():
            if source in ("hub", recipient):
                continue
            for what, (company, police) in gives.items():
                if (what, receiver) == (What.SCORE, "hub"):
                    continue
                takes = receives.get(receiver, "tw/pdpa-19-6")
                if what in (What.LOOKUP, What.TRAINING):
                    takes = "tw/rules-17"
                basis = police if giver == "police" else company
                yield Flow(source, recipient, what, tuple(purposes()), basis, takes)


def _reference_to(contract):

    return contract if isinstance(contract, ContractReference) else contract_reference(contract)


pytest_plugins = ("tests.postgres",)

PASSWORD = "right horse battery staple"


@pytest.fixture
def staffed(tmp_path, monkeypatch):
    """Give directories of nodes or hubs a staff; commands then act as `maker`, checked by `eye`.

    The password files are found through the environment, as for unattended commands.
    """
    passwords = tmp_path / "passwords"
    cheap = Cost(memory_kib=64, passes=1, lanes=1)
    monkeypatch.setattr("compliance.staff.staff.DEFAULT_COST", cheap)

    def make(*roots, by="maker", second="eye", roles=frozenset(StaffRole)):
        passwords.mkdir(mode=0o700, exist_ok=True)
        for root in roots:
            staff = Staff(root, cost=cheap)
            hashed = staff.hash_of(PASSWORD)
            with staff.exclusive() as (_, store):
                store(
                    {
                        name: Account(name, name, roles, State.ACTIVE, hashed, BEGINS, BEGINS)
                        for name in ("maker", "eye")
                    }
                )
        for name in ("maker", "eye"):
            (passwords / name).write_text(PASSWORD)
            (passwords / name).chmod(0o600)
        monkeypatch.setenv("LIANFANG_PASSWORDS", str(passwords))
        monkeypatch.setenv("LIANFANG_AS", by)
        monkeypatch.setenv("LIANFANG_SECOND", second)
        return roots

    return make


@pytest.fixture
def chromium():
    """Give a real browser."""
    from tests.chromium import launched  # noqa: PLC0415  most tests need none

    with launched() as browser:
        yield browser
