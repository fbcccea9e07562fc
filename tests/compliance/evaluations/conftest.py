import random
from dataclasses import replace
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.clock import FixedClock
from compliance.evaluations.book import EvaluationBook
from compliance.evaluations.holder import KeyHolder
from compliance.evaluations.store import EpochStore
from protocols.epoch.grants import Grant
from protocols.epoch.manifest import SignedManifest, sign_manifest
from protocols.epoch.setup import KeygenTerms
from protocols.group.select import load_group
from protocols.lookup.request import Purpose, commit_case, sign_request
from protocols.oprf import client
from protocols.oprf.keygen import generate_key, refresh_share
from protocols.oprf.messages import EvaluationRequest
from protocols.oprf.suite import Suite
from protocols.program import run_together

HOLDERS = ("hub", "police", "telecom")
FIRST = KeygenTerms(
    hub="hub-taipei",
    epoch=5,
    threshold=2,
    holders=HOLDERS,
    session=b"session-of-5....",
    not_before=10_000,
    not_after=20_000,
    grace_s=1_000,
    contributors={"police": 1},
    askers={
        "insurer": Grant(100, frozenset({Purpose.COUNTER, Purpose.SCREENING})),
        "telecom": Grant(100, frozenset({Purpose.SCREENING})),
    },
    previous=bytes(32),
)


class Town:
    """The holders of a town with their identities, and epochs made on demand in memory."""

    def __init__(self):
        names = (*HOLDERS, "insurer", "stranger")
        self.keys = {
            name: Ed25519PrivateKey.from_private_bytes(name[:2].encode() * 16) for name in names
        }
        self.identities = {name: key.public_key() for name, key in self.keys.items()}
        self.suite = Suite(load_group())

    def make(self, terms=FIRST, former=None):
        """Run a key set-up; return terms, shares, manifest and signed manifest."""
        source = random.Random(terms.session).randbytes
        if former is None:
            setup = terms.setup()
            programs = {n: generate_key(self.suite, setup, n, source) for n in HOLDERS}
        else:
            setup = terms.setup(former.manifest.record)
            programs = {
                n: refresh_share(self.suite, setup, former.shares[n], source) for n in HOLDERS
            }
        shares = run_together(programs)
        manifest = terms.manifest(shares["hub"].record)
        return SimpleNamespace(
            terms=terms, shares=shares, manifest=manifest, signed=self.sign(manifest)
        )

    def sign(self, manifest):
        signatures = {name: sign_manifest(self.keys[name], manifest) for name in HOLDERS}
        return SignedManifest(manifest.encode(), signatures)

    def blinded(self, count):
        inputs = [b"synthetic %d" % i for i in range(count)]
        blinds = client.random_blinds(self.suite, count, random.Random(1).randbytes)
        return client.blind(self.suite, inputs, blinds)

    def request(self, manifest, *, signer=None, count=1, name=b"request of test.", **change):
        evaluation = EvaluationRequest(
            manifest.epoch, manifest.record.key_id, name, self.blinded(count)
        )
        fields = {
            "hub": manifest.hub,
            "asker": "insurer",
            "purpose": Purpose.COUNTER,
            "case": commit_case("case 1", b"s" * 32),
            "asked_at": 15_000,
            "evaluation": evaluation,
        } | change
        return sign_request(self.keys[signer or fields["asker"]], **fields)


@pytest.fixture(scope="session")
def town():
    return Town()


@pytest.fixture(scope="session")
def fifth(town):
    """Epoch 5."""
    return town.make()


@pytest.fixture(scope="session")
def sixth(town, fifth):
    """Epoch 6, which begins while 5 is in force."""
    terms = replace(
        FIRST,
        epoch=6,
        session=b"session-of-6....",
        not_before=19_000,
        not_after=30_000,
        previous=fifth.manifest.digest,
    )
    return town.make(terms)


@pytest.fixture(scope="session")
def refreshed(town, fifth):
    """Epoch 5 with fresh shares."""
    terms = replace(
        FIRST, session=b"session-refresh.", refresh=True, previous=fifth.manifest.digest
    )
    return town.make(terms, fifth)


@pytest.fixture
def holder(town, fifth, tmp_path):
    """The police as a holder of epoch 5, at a time in the middle of it."""
    store = EpochStore(tmp_path / "epochs")
    store.keep_draft(fifth.terms.session, fifth.shares["police"])
    store.activate(fifth.signed, town.identities)
    book = EvaluationBook(tmp_path / "book.journal")
    known = {name: key for name, key in town.identities.items() if name != "stranger"}
    yield KeyHolder(
        "police", town.suite, store, book, known.get, FixedClock(15_000), random.Random(3).randbytes
    )
    book.close()
