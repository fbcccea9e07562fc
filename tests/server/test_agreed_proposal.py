"""Proposing under an agreement: where the operator says nothing, the plan stays within it."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.agreement.coverage import Run
from compliance.agreement.document import contract_reference
from protocols.vertical.contract import Contract
from server.training.agreed import Agreed
from server.training.proposal import propose
from server.training.sharing import compute_parties

PURPOSE = "https://w3id.org/dpv#FraudPreventionAndDetection"


@pytest.fixture
def contracts(partners):
    return {name: Contract.parse(item["contract"]) for name, item in partners.items()}


@pytest.fixture
def agreement(partners, contracts, agree):
    """Make an agreement of the partners with other terms."""

    def made(**terms):
        keys = {name: Ed25519PrivateKey.generate() for name in ("hub", *partners)}
        for name, partner in partners.items():
            partner["identity"] = keys[name].public_key().public_bytes_raw().hex()
        return agree(keys, **({"contracts": contracts} | terms)).agreement

    return made


def test_usual_values_stay_where_the_agreement_lets_them(agreement):
    found = Agreed.of(agreement())
    assert (found.purpose, found.epsilon, found.delta) == (PURPOSE, 1.0, 1e-5)
    assert (found.membership, found.min_rows) == ("hidden", 500)


def test_stricter_terms_take_the_place_of_the_usual_values(agreement):
    found = Agreed.of(
        agreement(epsilon=0.25, delta=1e-7, membership=("shared",), min_rows=900)
    )  # fmt: skip
    assert (found.epsilon, found.delta) == (0.25, 1e-7)
    assert (found.membership, found.min_rows) == ("shared", 900)


def test_least_cap_of_a_recipient_counts(agreement):
    whole = agreement()
    caps = replace(whole.caps, recipients=dict(whole.caps.recipients) | {"police": 0.5})
    assert Agreed.of(replace(whole, caps=caps)).epsilon == 0.5


def test_proposal_of_defaults_is_covered(agreement, choices, partners):
    agreed = agreement(epsilon=0.25, delta=1e-7, membership=("shared",), min_rows=900)
    terms = Agreed.of(agreed)
    plan = propose(
        choices(
            purpose=terms.purpose, epsilon=terms.epsilon, delta=terms.delta,
            membership=terms.membership, min_rows=terms.min_rows, compute=terms.compute,
            columns=terms.narrowed({}, partners),
        ),
        partners,
    )  # fmt: skip
    assert Run(plan).ask(agreed).covered


def test_columns_are_those_of_the_agreed_contracts(agreement, contracts, partners):
    calls = replace(contract_reference(contracts["telecom"]), columns=("calls", "cells"))
    terms = Agreed.of(agreement(contracts=contracts | {"telecom": calls}))
    assert terms.narrowed({}, partners) == {"telecom": ("calls", "cells")}
    assert terms.narrowed({"telecom": ("minutes",)}, partners) == {"telecom": ("minutes",)}


def test_who_has_no_contract_is_not_asked(agreement, contracts, partners):
    del contracts["police"]
    assert Agreed.of(agreement()).partners(partners) == ["insurer", "telecom"]


def test_without_an_agreement_everybody_is_proposed(partners):
    assert Agreed.of(None).partners(partners) == sorted(partners)


def test_place_is_filled_by_who_may_compute():
    taking = {"insurer": (), "telecom": ("calls",), "police": ()}
    assert compute_parties("insurer", taking) == ("insurer", "telecom", "hub")
    partners_alone = ("insurer", "police", "telecom")
    assert compute_parties("insurer", taking, partners_alone) == ("insurer", "telecom", "police")
    # Where nobody may, the plan names the hub, and the agreement denies it.
    assert compute_parties("insurer", taking, ("insurer", "telecom")) == (
        "insurer", "telecom", "hub",
    )  # fmt: skip
