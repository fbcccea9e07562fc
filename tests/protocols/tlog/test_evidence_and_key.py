"""Evidence of a document, and the operator's word on its log's key: read strictly, verified."""

import json
from contextlib import suppress
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.cosignature import sign_checkpoint
from protocols.tlog.entry import Decision, Entry, Outcome, Verb
from protocols.tlog.evidence import make_evidence, read_origin, verify_evidence
from protocols.tlog.logkey import (
    SignedLogKey,
    policy_for,
    sign_log_key,
    split_year,
    verify_log_key,
)
from protocols.tlog.merkle import hash_children, hash_leaf
from protocols.tlog.note import KeyKind, Note, Signer
from protocols.tlog.policy import NONE, Log, Policy
from protocols.tlog.proof import LogProof

IDENTITY = Ed25519PrivateKey.from_private_bytes(b"i" * 32)
SIGNER = Signer.from_seed("hub.example/audit/2026", KeyKind.ED25519, b"l" * 32)
POLICY = Policy((Log(SIGNER.key),), (), (), NONE)
DOCUMENT = b"d" * 32
ENTRY = Entry(
    sequence=1, time=1_795_305_600, organisation="hub", actor=b"a" * 16, verb=Verb.ALTER,
    act="begin_epoch", purpose="https://w3id.org/dpv#FraudPreventionAndDetection", basis="none",
    agreement=None, policy_set=b"p" * 32, policies=("epochs",), decision=Decision.PERMIT,
    outcome=Outcome.DONE, subject_matter="epoch-5/key", recipients=(), count=0,
    document=DOCUMENT, charge=None, commitment=b"c" * 32,
)  # fmt: skip


def evidence(entry=ENTRY, **changes):
    """Evidence of the second of two entries."""
    data, first = entry.encode(), hash_leaf(b"first")
    root = hash_children(first, hash_leaf(data))
    checkpoint = Checkpoint(SIGNER.name, 2, root)
    note = Note(checkpoint.format(), (sign_checkpoint(checkpoint, SIGNER, 1),))
    proof = LogProof(1, (first,), note)
    return make_evidence(replace(proof, **changes), data)


def test_evidence_gives_the_entry_and_its_checkpoint():
    found = verify_evidence(evidence(), DOCUMENT, POLICY)
    assert (found.entry, found.witnessed.checkpoint.size) == (ENTRY, 2)
    assert read_origin(evidence()) == SIGNER.name


def test_evidence_of_anything_else_is_refused():
    wrong = [
        (evidence(), b"e" * 32, POLICY),
        (evidence(replace(ENTRY, document=None)), DOCUMENT, POLICY),
        (evidence(replace(ENTRY, sequence=0)), DOCUMENT, POLICY),
        (evidence(hashes=(hash_leaf(b"other"),)), DOCUMENT, POLICY),
        (evidence(), DOCUMENT, Policy((), (), (), NONE)),
    ]
    for data, document, policy in wrong:
        with pytest.raises(InvalidProofError):
            verify_evidence(data, document, policy)
    proof = LogProof.decode(evidence())
    for extra in (None, b"", b"{}"):
        with pytest.raises((MalformedMessageError, InvalidProofError)):
            verify_evidence(replace(proof, extra=extra).encode(), DOCUMENT, POLICY)


@given(st.integers(0, 2_000), st.binary(max_size=3))
def test_damaged_evidence_fails_in_the_known_ways(at, data):
    whole = evidence()
    at %= len(whole)
    damaged = whole[:at] + data + whole[at + 1 :]
    with suppress(MalformedMessageError, InvalidProofError):
        assert verify_evidence(damaged, DOCUMENT, POLICY).entry == ENTRY


def word(**changes):
    fields = {"hub": "hub.example", "log": "hub.example/audit", "public": SIGNER.key.public}
    return sign_log_key(IDENTITY, **(fields | changes))


def test_word_on_the_key_stands_for_every_year():
    found = SignedLogKey.parse(word().format())
    assert found == word()
    verify_log_key(found, IDENTITY.public_key())
    assert found.key_of(SIGNER.name) == SIGNER.key
    assert found.key_of("hub.example/audit/2031").public == SIGNER.key.public
    for other in ("hub.example/audit", "hub.example/other/2026", "hub.example/audit/26", ""):
        assert found.key_of(other) is None
        assert found.policy_of(other) is None
    assert found.policy_of(SIGNER.name) == POLICY


@pytest.mark.parametrize(
    "changes", [{"hub": "other"}, {"log": "other"}, {"public": bytes(32)}, {"signature": bytes(64)}]
)
def test_changed_word_is_not_the_operators(changes):
    with pytest.raises(InvalidProofError, match="signature"):
        verify_log_key(replace(word(), **changes), IDENTITY.public_key())


@pytest.mark.parametrize(
    "change",
    [
        {"more": "x"}, {"key": None}, {"key": "00"}, {"key": "A" * 64}, {"key": "zz" * 32},
        {"format": "lianfang/log-key/v2"}, {"log": "a+b"}, {"log": ""}, {"log": "a\nb"},
        {"hub": 1}, {"signature": "0"},
    ],
)  # fmt: skip
def test_other_forms_of_the_word_are_malformed(change):
    value = json.loads(word().format()) | change
    with pytest.raises(MalformedMessageError):
        SignedLogKey.parse(json.dumps(value).encode())


@given(st.binary(max_size=200))
def test_any_bytes_are_the_word_or_malformed(data):
    with suppress(MalformedMessageError):
        SignedLogKey.parse(data)


def test_policy_of_one_year_is_good_for_another():
    later = policy_for(POLICY, "hub.example/audit/2027")
    assert [log.key.name for log in later.logs] == ["hub.example/audit/2027"]
    assert policy_for(later, SIGNER.name) == POLICY
    for origin in (SIGNER.name, "other.example/audit/2027", "hub.example/audit"):
        assert policy_for(POLICY, origin) == POLICY
    assert split_year("a/b/2026") == ("a/b", "2026")
    assert split_year("2026") == split_year("a/02026") == ("", "")
