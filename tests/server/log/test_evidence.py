"""What the hub shows about a document: nothing before a checkpoint covers it, then a proof."""

import os
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.clock import FixedClock
from compliance.log.memory import MemoryStorage
from compliance.log.second import FileCheckpoints
from compliance.office.keys import LogKeys
from compliance.office.opening import agreements_in, policies_in
from protocols.tlog.entry import Decision, Entry, Outcome, Verb
from protocols.tlog.evidence import read_origin, verify_evidence
from protocols.tlog.logkey import SignedLogKey, verify_log_key
from server.log.evidence import read_evidence, signed_key
from server.log.opening import assemble

NOW = 1_795_305_600  # in 2026
YEAR_S = 366 * 86_400
DOCUMENT = b"d" * 32
ENTRY = Entry(
    sequence=0, time=NOW, organisation="hub", actor=b"a" * 16, verb=Verb.ALTER,
    act="begin_epoch", purpose="https://w3id.org/dpv#FraudPreventionAndDetection", basis="none",
    agreement=None, policy_set=b"p" * 32, policies=("epochs",), decision=Decision.PERMIT,
    outcome=Outcome.DONE, subject_matter="epoch-5/key", recipients=(), count=0,
    document=DOCUMENT, charge=None, commitment=b"c" * 32,
)  # fmt: skip


@pytest.fixture
def clock():
    return FixedClock(NOW)


@pytest.fixture
def log(tmp_path, clock):
    with assemble(
        "hub.example/audit", MemoryStorage(), FileCheckpoints(tmp_path / "second"),
        LogKeys.draw(os.urandom), clock=clock, folder=tmp_path,
        agreements=agreements_in(tmp_path, {}), policies=policies_in(tmp_path),
    ) as made:  # fmt: skip
        yield made


def enter(log, **changes):
    return log.yearly.append(replace(ENTRY, commitment=os.urandom(32), **changes))


def test_evidence_appears_with_the_checkpoint_and_verifies(log):
    policy = log.policy_of(log.yearly.origin())
    assert read_evidence(log, DOCUMENT) is None
    enter(log, document=None)
    log.yearly.checkpoint()
    place = enter(log)
    assert read_evidence(log, DOCUMENT) is None
    log.yearly.checkpoint()
    for _ in range(300):
        enter(log, document=None)
    found = verify_evidence(read_evidence(log, DOCUMENT), DOCUMENT, policy)
    assert (found.entry.sequence, found.witnessed.checkpoint.size) == (place.index, 2)
    log.yearly.checkpoint()
    found = verify_evidence(read_evidence(log, DOCUMENT), DOCUMENT, policy)
    assert (found.entry.sequence, found.witnessed.checkpoint.size) == (place.index, 302)
    assert read_evidence(log, b"e" * 32) is None


def test_first_act_that_was_done_is_shown(log):
    refused = {"decision": Decision.DENY, "outcome": Outcome.REFUSED}
    enter(log, **refused)
    enter(log, outcome=Outcome.FAILED)
    enter(log)
    enter(log, act="end_epoch")
    log.yearly.checkpoint()
    policy = log.policy_of(log.yearly.origin())
    found = verify_evidence(read_evidence(log, DOCUMENT), DOCUMENT, policy)
    assert (found.entry.sequence, found.entry.act) == (2, "begin_epoch")


def test_document_of_an_earlier_year_is_shown_from_its_log(log, clock):
    enter(log)
    log.yearly.checkpoint()
    first = log.yearly.origin()
    clock.advance(YEAR_S)
    enter(log, document=b"n" * 32)
    log.yearly.checkpoint()
    assert log.yearly.origin() != first
    data = read_evidence(log, DOCUMENT)
    assert read_origin(data) == first
    verify_evidence(data, DOCUMENT, log.policy_of(first))


def test_log_of_another_operator_in_the_same_storage_is_not_shown(log):
    enter(log)
    log.yearly.checkpoint()
    log.prefix = "other.example/audit"
    assert read_evidence(log, DOCUMENT) is None


def test_entry_past_its_retention_is_not_shown(log):
    enter(log)
    for _ in range(300):
        enter(log, document=None)
    log.yearly.checkpoint()
    assert read_evidence(log, DOCUMENT) is not None
    log.storage.raise_minimum(log.yearly.origin(), 256)
    assert read_evidence(log, DOCUMENT) is None


def test_key_is_signed_and_stays_the_same_over_the_years(log, clock):
    identity = Ed25519PrivateKey.generate()
    data = signed_key(log, identity, "hub.example")
    found = SignedLogKey.parse(data)
    verify_log_key(found, identity.public_key())
    assert found.key_of(log.yearly.origin()) == log.key
    clock.advance(YEAR_S)
    assert signed_key(log, identity, "hub.example") == data
    assert found.key_of(log.yearly.origin()) == log.key
