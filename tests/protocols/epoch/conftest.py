import random
from dataclasses import replace
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.epoch.grants import Grant
from protocols.epoch.manifest import SignedManifest, sign_manifest
from protocols.epoch.setup import KeygenTerms
from protocols.group.select import load_group
from protocols.lookup.request import Purpose
from protocols.oprf.keygen import generate_key, refresh_share
from protocols.oprf.suite import Suite
from protocols.program import run_together

HOLDERS = ("hub", "police", "telecom")
NEVER = bytes(32)


def make_terms(**change):
    terms = KeygenTerms(
        hub="hub-taipei",
        epoch=5,
        threshold=2,
        holders=HOLDERS,
        session=b"session-of-test.",
        not_before=1_000,
        not_after=2_000,
        grace_s=100,
        contributors={"police": 1, "telecom": 2},
        askers={
            "insurer": Grant(1000, frozenset({Purpose.COUNTER, Purpose.SCREENING})),
            "police": Grant(50_000, frozenset({Purpose.PUBLISH})),
        },
        previous=NEVER,
    )
    return replace(terms, **change)


def make_shares(terms, former=None):
    """Run a key set-up in memory under its terms; return the shares by holder."""
    suite = Suite(load_group())
    source = random.Random(terms.session).randbytes
    if former is None:
        setup = terms.setup()
        programs = {name: generate_key(suite, setup, name, source) for name in HOLDERS}
    else:
        setup = terms.setup(former["hub"].record)
        programs = {name: refresh_share(suite, setup, former[name], source) for name in HOLDERS}
    return run_together(programs)


def sign_all(manifest, keys):
    signatures = {name: sign_manifest(keys[name], manifest) for name in manifest.record.holders}
    return SignedManifest(manifest.encode(), signatures)


@pytest.fixture(scope="session")
def made():
    """An epoch with everything that belongs to it."""
    names = (*HOLDERS, "insurer")
    keys = {name: Ed25519PrivateKey.from_private_bytes(name[:1].encode() * 32) for name in names}
    terms = make_terms()
    shares = make_shares(terms)
    manifest = terms.manifest(shares["hub"].record)
    return SimpleNamespace(
        keys=keys,
        identities={name: key.public_key() for name, key in keys.items()},
        terms=terms,
        shares=shares,
        manifest=manifest,
        signed=sign_all(manifest, keys),
        sign=lambda changed: sign_all(changed, keys),
        make_terms=make_terms,
        make_shares=make_shares,
    )
