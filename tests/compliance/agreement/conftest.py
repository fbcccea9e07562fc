"""Four parties with keys, the agreement between them, and a plan that keeps it."""

from dataclasses import dataclass, replace
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.agreement.document import Agreement, contract_reference
from compliance.agreement.drafting import FRAUD, draft_agreement
from compliance.agreement.profile import shipped_bytes, shipped_profile
from compliance.agreement.signing import SignedAgreement, sign_agreement
from compliance.agreement.store import AgreementStore
from compliance.agreement.terms import Party
from compliance.agreement.vocabulary import Role, Title
from protocols.vertical.contract import Category, Contract, Numeric
from protocols.vertical.plan import Partner, TrainingPlan
from protocols.vertical.settings import EncoderTerms, Schedule

BEGINS, ENDS = 1_800_000_000, 1_830_000_000
SECTORS = {"hub": "operator", "insurer": "life-insurance", "police": "police", "telecom": "telecom"}


@dataclass
class World:
    """What the tests of agreements need."""

    keys: dict
    contracts: dict
    agreement: Agreement
    plan: TrainingPlan
    now: int = BEGINS + 100

    @property
    def pinned(self):
        return {name: key.public_key() for name, key in self.keys.items()}

    def signed(self, agreement=None, by=None):
        found = agreement or self.agreement
        names = found.names if by is None else by
        return SignedAgreement(
            found, {name: sign_agreement(self.keys[name], found, name) for name in names}
        )

    def store(self, directory, *agreements):
        store = AgreementStore(directory, self.pinned)
        for found in agreements:
            store.keep(self.signed(found), profile=shipped_bytes(found.profile.id))
        return store

    def after(self, **changes):
        """The next version."""
        return replace(
            self.agreement, version=2, supersedes=self.agreement.digest,
            not_before=BEGINS + 1000, **changes,
        )  # fmt: skip


@pytest.fixture
def world():
    keys = {
        name: Ed25519PrivateKey.from_private_bytes(sha256(name.encode()).digest())
        for name in SECTORS
    }
    contracts = {
        "insurer": Contract((Numeric("age", 0.0, 120.0),), label="fraud"),
        "telecom": Contract((Numeric("calls", 0.0, 1e4), Category("plan", ("a", "b")))),
        "police": Contract((Numeric("reports", 0.0, 99.0),)),
    }
    parties = [
        Party(name, Role(name), Title(name.title(), name), key.public_key().public_bytes_raw(),
              SECTORS[name], "TW")
        for name, key in keys.items()
    ]  # fmt: skip
    agreement = draft_agreement(
        hub="lianfang.example",
        name="joint-defence",
        profile=shipped_profile("tw"),
        parties=parties,
        contracts={name: contract_reference(item) for name, item in contracts.items()},
        not_before=BEGINS,
        not_after=ENDS,
    )
    return World(keys, contracts, agreement, _plan(keys))


def _plan(keys):
    def partner(name, *columns):
        identity = keys[name].public_key().public_bytes_raw().hex()
        norm = 0.5 if columns else 0.0
        return Partner(name, identity, columns, norm, EncoderTerms())

    return TrainingPlan(
        run="spring",
        purpose=FRAUD,
        partners=(
            partner("insurer", "age"),
            partner("telecom", "calls", "plan"),
            partner("police", "reports"),
        ),
        label_holder="insurer",
        compute=("insurer", "telecom", "police"),
        epoch=3,
        membership="hidden",
        sample_fraction=1.0,
        held_out_fraction=0.3,
        min_rows=100,
        epsilon=1.0,
        delta=1e-5,
        steps=40,
        degree=1,
        reach=0.5,
        count_share=0.01,
        schedule=Schedule(8.0, 0.9, 0.5),
        resolution_bits=16,
        on_refusal="end",
        deadline_s=600,
    )
