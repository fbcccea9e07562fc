"""Attacks on the private lookup, each tried in earnest.

Every attack stands beside the same attack with what it must not have, which then works:
a test that could not succeed would not show anything. Identifiers are made up.
"""

import os
import random
from dataclasses import replace
from hashlib import sha512
from types import SimpleNamespace

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.clock import FixedClock
from compliance.errors import QuotaExhaustedError
from compliance.evaluations.book import EvaluationBook
from compliance.evaluations.holder import KeyHolder
from compliance.evaluations.store import EpochStore
from protocols.epoch.grants import Grant
from protocols.epoch.manifest import EpochManifest, SignedManifest, sign_manifest, verify_manifest
from protocols.errors import InvalidProofError
from protocols.group.encoding import encode_scalar
from protocols.group.interface import ELEMENT_SIZE, ORDER
from protocols.group.select import load_group
from protocols.identifiers import IdentifierKind, canonicalize
from protocols.lookup.bucket import bucket_capacity, pad_bucket
from protocols.lookup.derivation import derive_record_key, derive_root, derive_tags
from protocols.lookup.payload import Category, Payload, Slot, SourceClass, Status, Use
from protocols.lookup.record import NONCE_SIZE, RECORD_SIZE, open_record, seal_record
from protocols.lookup.request import NO_CASE, Purpose, sign_request
from protocols.lookup.table import find
from protocols.oprf.client import derive_blinds, finish_outputs
from protocols.oprf.errors import RogueHolderError, WrongEpochError, WrongShareError
from protocols.oprf.keygen import generate_key, refresh_share
from protocols.oprf.messages import EvaluationAnswer, Opening
from protocols.oprf.records import KeyRecord, KeyShare
from protocols.oprf.setup import Setup, next_epoch, refresh_of
from protocols.oprf.shares import lagrange_weights
from protocols.oprf.suite import Mode, Suite, random_scalars
from protocols.oprf.threshold import Query, answer_request
from protocols.program import Program, Receive, Send, run_together

NOW = 1_800_000_000
HOLDERS = ("hub", "police", "telecom")
POLICE = 1
CANDIDATES = [
    canonicalize(IdentifierKind.BANK_ACCOUNT, f"812-{number:08d}") for number in range(1, 301)
]
REPORTED = [CANDIDATES[at] for at in (7, 70, 170, 270)]
PAYLOAD = Payload(
    Category.MULE_ACCOUNT, SourceClass.POLICE, Status.CONFIRMED, Use.COUNTER, Slot.SUSPECT,
    POLICE, 310, 318, 330, b"reference-01",
)  # fmt: skip


@pytest.fixture(scope="module")
def suite():
    return Suite(load_group(), Mode.VOPRF)


def make_key(suite, setup):
    programs = {name: generate_key(suite, setup, name, os.urandom) for name in setup.holders}
    return run_together(programs)


@pytest.fixture(scope="module")
def key(suite):
    return make_key(suite, Setup(1, 2, HOLDERS, os.urandom(16)))


def evaluate(suite, shares, inputs, request_id=b"request-number-1"):
    """Look identifiers up as an honest client does, with the first two holders."""
    record = shares["hub"].record
    blinds = random_scalars(suite.group, len(inputs), os.urandom)
    query = Query(suite, record, inputs, blinds, request_id)
    for name in record.holders[: record.threshold]:
        query.receive(answer_request(suite, shares[name], query.request, os.urandom))
    return query.finish()


@pytest.fixture(scope="module")
def disk(suite, key):
    """All that lies at the hub: the table of the police, the manifest's record, its share."""
    outputs = evaluate(suite, key, REPORTED)
    roots = [derive_root(1, output) for output in outputs]
    records = sorted(seal_record(root, 1, PAYLOAD, os.urandom(NONCE_SIZE)) for root in roots)
    return SimpleNamespace(table=b"".join(records), record=key["hub"].record, share=key["hub"])


def guess(suite, disk, scalar):
    """Try every candidate under a key that a thief has put together; return who was found."""
    elements = suite.hash_to_group(CANDIDATES)
    outputs = finish_outputs(CANDIDATES, suite.group.multiply(scalar, elements, "guesses"))
    found = []
    for candidate, output in zip(CANDIDATES, outputs, strict=True):
        root = derive_root(1, output)
        record = find(disk.table, derive_tags(root, POLICE)[Slot.SUSPECT])
        if record is not None and open_record(root, 1, POLICE, Slot.SUSPECT, record):
            found.append(candidate)
    return found


def combined(suite, *shares):
    """Return the whole key from t shares, as only a thief would."""
    weights, denominator = lagrange_weights([share.index for share in shares])
    group, total = suite.group, bytes(32)
    for weight, share in zip(weights, shares, strict=True):
        total = group.scalar_add(total, group.scalar_multiply(encode_scalar(weight), share.scalar))
    return group.scalar_multiply(group.invert(encode_scalar(denominator)), total)


def test_thief_of_the_hub_finds_nobody(suite, disk):
    # The share itself, and the share weighted as it would be in either pair of holders.
    tries = [disk.share.scalar]
    for other in (2, 3):
        weights, denominator = lagrange_weights([disk.share.index, other])
        scaled = suite.group.scalar_multiply(encode_scalar(weights[0]), disk.share.scalar)
        inverse = suite.group.invert(encode_scalar(denominator))
        tries.append(suite.group.scalar_multiply(inverse, scaled))
    assert [guess(suite, disk, scalar) for scalar in tries] == [[], [], []]


def test_thief_of_two_holders_finds_everybody(suite, disk, key):
    assert guess(suite, disk, combined(suite, disk.share, key["telecom"])) == REPORTED


def test_shares_of_two_generations_find_nobody(suite, disk, key):
    setup = refresh_of(key["hub"].record, os.urandom(16))
    programs = {name: refresh_share(suite, setup, key[name], os.urandom) for name in HOLDERS}
    fresh = run_together(programs)
    assert guess(suite, disk, combined(suite, key["hub"], fresh["telecom"])) == []
    assert guess(suite, disk, combined(suite, fresh["hub"], fresh["telecom"])) == REPORTED


def test_holder_with_a_key_for_one_client_is_caught(suite, key):
    # A hub that evaluates one client under a key of its own could recognise its tags later.
    record = key["hub"].record
    other = KeyShare(record, 1, random_scalars(suite.group, 1, os.urandom))
    query = Query(suite, record, REPORTED, random_scalars(suite.group, 4, os.urandom), bytes(16))
    marked = answer_request(suite, other, query.request, os.urandom)
    with pytest.raises(InvalidProofError, match="hub"):
        query.receive(marked)
    query.receive(answer_request(suite, key["police"], query.request, os.urandom))
    query.receive(answer_request(suite, key["telecom"], query.request, os.urandom))
    assert query.finish() == evaluate(suite, key, REPORTED)


def manifest_of(record):
    grants = {"insurer": Grant(60, frozenset({Purpose.SCREENING}))}
    return EpochManifest(
        "hub.test", record, NOW - 10, NOW + 1_000, 100, {"police": 1}, grants, bytes(32)
    )


@pytest.fixture(scope="module")
def identities():
    return {name: Ed25519PrivateKey.generate() for name in (*HOLDERS, "insurer")}


def signed_by(manifest, identities):
    signatures = {name: sign_manifest(identities[name], manifest) for name in HOLDERS}
    return SignedManifest(manifest.encode(), signatures)


def test_key_of_the_hub_alone_never_becomes_an_epoch(suite, key, identities):
    # The hub makes a whole key by itself and gives it to one client under honest names.
    own = make_key(suite, Setup(1, 2, HOLDERS, os.urandom(16)))["hub"].record
    forged = signed_by(manifest_of(own), identities | dict.fromkeys(HOLDERS, identities["hub"]))
    pinned = {name: private.public_key() for name, private in identities.items()}
    with pytest.raises(InvalidProofError, match="police"):
        verify_manifest(forged, pinned)
    honest = signed_by(manifest_of(key["hub"].record), identities)
    assert verify_manifest(honest, pinned).record == key["hub"].record


def test_public_shares_of_honest_holders_beside_another_key_are_refused(suite, key, identities):
    # Honest proofs would verify, and the outputs would be under a key that the forger knows.
    record: KeyRecord = key["hub"].record
    public = suite.group.multiply_base(random_scalars(suite.group, 1, os.urandom))
    forged = signed_by(manifest_of(replace(record, public=public)), identities)
    pinned = {name: private.public_key() for name, private in identities.items()}
    with pytest.raises(WrongShareError, match="do not give the public key"):
        verify_manifest(forged, pinned)


def rogue_dealer(suite, setup, honest, *, waits) -> Program[None]:
    """Deal a value that cancels what the others deal, so that the key is one's own.

    The rogue may wait until the others have opened theirs, and then breaks its own hash;
    or it may guess, and then has no proof for a value that it does not know.
    """
    own = suite.group.multiply_base(random_scalars(suite.group, 2, os.urandom))
    opening = Opening(own, bytes(64)).encode()
    sealed = sha512(b"lianfang/oprf/opening/v1" + setup.context + bytes([3]) + opening).digest()
    for name in honest:
        yield Send(name, sealed)
    for name in honest:
        yield Receive(name)
    if waits:
        total = own[:ELEMENT_SIZE]
        minus = encode_scalar(ORDER - 1)
        for name in honest:
            seen = Opening.decode((yield Receive(name)), count=2, proven=True)
            cancelled = suite.group.multiply(minus, seen.commitments[:ELEMENT_SIZE], "theirs")
            total = suite.group.add(total, cancelled)
        opening = Opening(total + own[ELEMENT_SIZE:], bytes(64)).encode()
    for name in honest:
        yield Send(name, opening)
    while True:
        yield Receive(honest[0])


@pytest.mark.parametrize(("waits", "says"), [(True, "differs from its hash"), (False, "telecom")])
def test_rogue_share_at_set_up_is_refused(suite, waits, says):
    setup = Setup(1, 2, HOLDERS, os.urandom(16))
    honest = ["hub", "police"]
    programs = {name: generate_key(suite, setup, name, os.urandom) for name in honest}
    rogue = rogue_dealer(suite, setup, honest, waits=waits)
    with pytest.raises(RogueHolderError, match=says):
        run_together(programs | {"telecom": rogue})


def test_answer_of_one_epoch_is_no_answer_in_another(suite, key):
    later = make_key(suite, next_epoch(key["hub"].record, os.urandom(16)))
    blinds = random_scalars(suite.group, 1, os.urandom)
    old = Query(suite, key["hub"].record, REPORTED[:1], blinds, bytes(16))
    new = Query(suite, later["hub"].record, REPORTED[:1], blinds, bytes(16))
    answer = answer_request(suite, key["hub"], old.request, os.urandom)
    with pytest.raises(WrongEpochError):
        new.receive(answer)
    # Relabelled, it says the right epoch, and its proof is of the wrong key.
    moved = EvaluationAnswer(
        new.request.epoch, new.request.key_id, answer.request_id, 1, answer.evaluated, answer.proof
    )
    with pytest.raises(InvalidProofError):
        new.receive(moved)
    with pytest.raises(WrongEpochError):
        answer_request(suite, later["police"], old.request, os.urandom)
    assert old.receive(answer) == "hub"


def test_root_of_one_epoch_finds_nothing_in_the_table_of_another(suite, key, disk):
    later = make_key(suite, next_epoch(key["hub"].record, os.urandom(16)))
    for output, expected in (
        (evaluate(suite, key, REPORTED)[0], True),
        (evaluate(suite, later, REPORTED)[0], False),
    ):
        tag = derive_tags(derive_root(1, output), POLICE)[Slot.SUSPECT]
        assert (find(disk.table, tag) is not None) is expected


def test_every_bucket_and_every_answer_has_one_size(suite, key):
    source = random.Random(5)
    table = b"".join(sorted(source.randbytes(RECORD_SIZE) for _ in range(3_000)))
    capacity = bucket_capacity(table, 4)
    buckets = [pad_bucket(table, 4, index, capacity) for index in range(16)]
    assert len({len(bucket) for bucket in buckets}) == 1
    # Without padding the sizes would tell the buckets apart.
    firsts = np.frombuffer(table, np.uint8).reshape(-1, RECORD_SIZE)[:, 0] >> 4
    assert len(set(np.bincount(firsts).tolist())) > 4

    record = key["hub"].record
    sizes = set()
    for item in (REPORTED[0], CANDIDATES[0]):
        query = Query(suite, record, [item], random_scalars(suite.group, 1, os.urandom), bytes(16))
        answer = answer_request(suite, key["hub"], query.request, os.urandom)
        sizes.add((len(query.request.encode()), len(answer.encode())))
    assert len(sizes) == 1


def test_blinded_elements_of_one_person_cannot_be_linked(suite, key):
    opening_key = os.urandom(32)
    seen = set()
    for number in range(20):
        request_id = number.to_bytes(16, "big")
        blinds = derive_blinds(suite, opening_key, request_id, 1)
        query = Query(suite, key["hub"].record, REPORTED[:1], blinds, request_id)
        seen.add(query.request.blinded)
    assert len(seen) == 20
    again = derive_blinds(suite, opening_key, bytes(16), 1)
    assert again == derive_blinds(suite, opening_key, bytes(16), 1)


def holder(tmp_path, suite, key, identities, name):
    folder = tmp_path / name
    folder.mkdir()
    store = EpochStore(folder)
    pinned = {other: private.public_key() for other, private in identities.items()}
    store.keep_draft(bytes(16), key[name])
    store.activate(signed_by(manifest_of(key["hub"].record), identities), pinned)
    book = EvaluationBook(folder / "book.journal")
    return KeyHolder(name, suite, store, book, pinned.get, FixedClock(NOW), os.urandom)


def test_enumeration_ends_at_the_quota_of_every_holder(tmp_path, suite, key, identities):
    holders = {name: holder(tmp_path, suite, key, identities, name) for name in ("hub", "police")}
    answered = dict.fromkeys(holders, 0)
    for start in range(0, len(CANDIDATES), 25):
        inputs = CANDIDATES[start : start + 25]
        request_id = start.to_bytes(16, "big")
        blinds = random_scalars(suite.group, len(inputs), os.urandom)
        query = Query(suite, key["hub"].record, inputs, blinds, request_id)
        request = sign_request(
            identities["insurer"], hub="hub.test", asker="insurer", purpose=Purpose.SCREENING,
            case=NO_CASE, asked_at=NOW, evaluation=query.request,
        )  # fmt: skip
        for name, one in holders.items():
            try:
                one.answer(request.encode())
                answered[name] += len(inputs)
            except QuotaExhaustedError:
                continue
    # A hub that looks away does not help: the police count by themselves.
    assert answered == {"hub": 50, "police": 50}


def test_two_versions_of_a_record_share_nothing(suite, key):
    root = derive_root(1, evaluate(suite, key, REPORTED[:1])[0])
    withdrawn = replace(PAYLOAD, status=Status.WITHDRAWN)
    difference = bytes(a ^ b for a, b in zip(PAYLOAD.encode(), withdrawn.encode(), strict=True))

    def xor_of(first, second):
        pairs = zip(first[28:60], second[28:60], strict=True)
        return bytes(a ^ b for a, b in pairs)

    once = seal_record(root, 1, PAYLOAD, os.urandom(NONCE_SIZE))
    twice = seal_record(root, 1, withdrawn, os.urandom(NONCE_SIZE))
    assert xor_of(once, twice) != difference
    # With a nonce that stays, the update would be readable without any key.
    same = bytes(NONCE_SIZE)
    fixed = xor_of(seal_record(root, 1, PAYLOAD, same), seal_record(root, 1, withdrawn, same))
    assert fixed == difference


def test_contributors_cannot_be_joined_on_a_person_by_the_hub(suite, key):
    root = derive_root(1, evaluate(suite, key, REPORTED[:1])[0])
    tags = {tag for number in (1, 2, 3) for tag in derive_tags(root, number)}
    assert len(tags) == 6
    keys = {derive_record_key(root, number, slot) for number in (1, 2) for slot in Slot}
    assert len(keys) == 4
