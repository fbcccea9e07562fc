"""An agreement in force, the shipped policies, and a judge over both."""

from dataclasses import dataclass
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.agreement.document import Agreement
from compliance.agreement.drafting import draft_agreement
from compliance.agreement.profile import shipped_bytes, shipped_profile
from compliance.agreement.signing import SignedAgreement, sign_agreement
from compliance.agreement.store import AgreementStore
from compliance.agreement.terms import Party
from compliance.agreement.vocabulary import Role, Title
from compliance.policy.actors import Organisation, Person, StaffRole
from compliance.policy.judge import Judge
from compliance.policy.policyset import PolicySet, shipped_policies
from compliance.policy.store import PolicyStore

BEGINS, ENDS = 1_800_000_000, 1_830_000_000
SECTORS = {"hub": "operator", "insurer": "life-insurance", "police": "police", "telecom": "telecom"}
POLICIES = shipped_policies()


@dataclass
class Court:
    """A judge, and what stands behind it."""

    judge: Judge
    agreement: Agreement
    keys: dict
    now: int = BEGINS + 100

    def organisation(self, name):
        return Organisation(name, Role(name))

    def person(self, role, name="insurer", number=1):
        pseudonym = number.to_bytes(16, "big")
        return Person(pseudonym, self.organisation(name), frozenset({StaffRole(role)}))


@pytest.fixture
def policies():
    # A set of its own for each test: it remembers its answers.
    return PolicySet.decode(POLICIES.encode())


@pytest.fixture
def court(tmp_path):
    keys = {
        name: Ed25519PrivateKey.from_private_bytes(sha256(name.encode()).digest())
        for name in SECTORS
    }
    parties = [
        Party(name, Role(name), Title(name, name), key.public_key().public_bytes_raw(),
              SECTORS[name], "TW")
        for name, key in keys.items()
    ]  # fmt: skip
    agreement = draft_agreement(
        hub="lianfang.example", name="joint-defence", profile=shipped_profile("tw"),
        parties=parties, contracts={}, not_before=BEGINS, not_after=ENDS,
    )  # fmt: skip
    signed = SignedAgreement(
        agreement, {name: sign_agreement(key, agreement, name) for name, key in keys.items()}
    )
    pinned = {name: key.public_key() for name, key in keys.items()}
    agreements = AgreementStore(tmp_path / "agreements", pinned)
    agreements.keep(signed, profile=shipped_bytes("tw"))
    return Court(Judge(agreements, PolicyStore(tmp_path / "policies")), agreement, keys)
