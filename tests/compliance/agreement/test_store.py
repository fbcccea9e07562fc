"""What is kept, and which version is in force when."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.agreement.profile import shipped_bytes
from compliance.agreement.revocation import revoke
from compliance.agreement.signing import SignedAgreement
from compliance.agreement.store import AgreementStore, State
from compliance.errors import LogCorruptError, NotPermittedError
from protocols.errors import InvalidProofError


def test_in_force_from_its_first_second_up_to_its_last(world, tmp_path):
    store = world.store(tmp_path, world.agreement)
    begins, ends = world.agreement.not_before, world.agreement.not_after
    assert store.in_force(begins - 1) is None
    assert store.in_force(begins) == world.agreement
    assert store.in_force(ends - 1) == world.agreement
    assert store.in_force(ends) is None
    digest = world.agreement.digest
    assert store.state(digest, begins - 1) is State.AWAITED
    assert store.state(digest, ends) is State.ENDED


def test_signatures_arrive_one_by_one(world, tmp_path):
    store = AgreementStore(tmp_path, world.pinned)
    names = world.agreement.names
    for count, name in enumerate(names, 1):
        digest = store.keep(world.signed(by=[name]))
        expected = State.IN_FORCE if count == len(names) else State.DRAFT
        assert store.state(digest, world.now) is expected
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", *[".signature"] * 4]


def test_a_wrong_signature_is_not_kept(world, tmp_path):
    store = AgreementStore(tmp_path, world.pinned)
    with pytest.raises(InvalidProofError):
        store.keep(SignedAgreement(world.agreement, {"insurer": bytes(64)}))
    assert list(tmp_path.iterdir()) == []


def test_revocation_ends_it_at_once_and_for_good(world, tmp_path):
    store = world.store(tmp_path, world.agreement)
    word = revoke(world.keys["police"], world.agreement, "police", reason="leak", now=world.now)
    store.keep_revocation(word, now=world.now)
    assert store.in_force(world.now) is None
    assert store.state(world.agreement.digest, world.now) is State.REVOKED
    # What was done before it stays lawful, and can be shown to have been.
    assert store.state(world.agreement.digest, world.now - 9_000_000) is State.AWAITED
    late = replace(world, now=world.now + 50_000)
    assert store.in_force(late.now) is None
    assert AgreementStore(tmp_path, world.pinned).in_force(world.now) is None


def test_before_its_revocation_it_was_in_force(world, tmp_path):
    store = world.store(tmp_path, world.agreement)
    later = world.now + 10_000
    word = revoke(world.keys["hub"], world.agreement, "hub", reason="end", now=later)
    store.keep_revocation(word, now=later)
    assert store.in_force(world.now) == world.agreement
    assert store.in_force(later) is None


def test_a_revocation_of_the_future_is_refused(world, tmp_path):
    store = world.store(tmp_path, world.agreement)
    word = revoke(world.keys["hub"], world.agreement, "hub", reason="x", now=world.now + 999)
    with pytest.raises(NotPermittedError, match="future"):
        store.keep_revocation(word, now=world.now)
    assert store.in_force(world.now) == world.agreement


def test_the_next_version_takes_over_when_its_time_comes(world, tmp_path):
    after = world.after()
    store = world.store(tmp_path, world.agreement, after)
    assert store.in_force(after.not_before - 1) == world.agreement
    assert store.in_force(after.not_before) == after
    assert store.state(world.agreement.digest, after.not_before) is State.SUPERSEDED


def test_an_unsigned_version_supersedes_nothing(world, tmp_path):
    after = world.after()
    store = world.store(tmp_path, world.agreement)
    store.keep(world.signed(after, by=["hub", "insurer", "police"]))
    assert store.in_force(after.not_before) == world.agreement


def test_revoking_a_version_does_not_bring_the_former_back(world, tmp_path):
    after = world.after()
    store = world.store(tmp_path, world.agreement, after)
    now = after.not_before + 10
    word = revoke(world.keys["hub"], after, "hub", reason="x", now=now)
    store.keep_revocation(word, now=now)
    assert store.in_force(now) is None


def test_two_in_force_are_an_error_and_not_a_choice(world, tmp_path):
    one = world.after()
    two = replace(one, not_after=one.not_after + 1)
    store = world.store(tmp_path, world.agreement, one, two)
    with pytest.raises(NotPermittedError, match="both in force"):
        store.in_force(one.not_before)


def test_another_series_needs_another_directory(world, tmp_path):
    store = world.store(tmp_path, world.agreement)
    with pytest.raises(NotPermittedError, match="series"):
        store.keep(world.signed(replace(world.agreement, name="other")))


def test_no_file_is_ever_rewritten(world, tmp_path):
    store = world.store(tmp_path, world.agreement)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    store.keep(world.signed(), profile=shipped_bytes("tw"))
    assert {path: path.read_bytes() for path in before} == before
    signature = next(tmp_path.glob("*.hub.signature"))
    signature.write_text("00" * 64)
    with pytest.raises(LogCorruptError, match="does not hold"):
        store.keep(world.signed())


@pytest.mark.parametrize("pattern", ["*.json", "*.hub.signature"])
def test_damage_is_an_error_and_never_an_agreement(world, tmp_path, pattern):
    store = world.store(tmp_path, world.agreement)
    assert store.in_force(world.now)
    path = next(tmp_path.glob(pattern))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"2", b"3", 1) if b"2" in data else data[:-1] + b"0")
    with pytest.raises(LogCorruptError):
        store.in_force(world.now)


def test_a_replaced_key_is_noticed(world, tmp_path):
    store = world.store(tmp_path, world.agreement)
    assert store.in_force(world.now)
    store.identities = world.pinned | {"hub": Ed25519PrivateKey.generate().public_key()}
    with pytest.raises(LogCorruptError, match="another key"):
        store.in_force(world.now)


def test_the_profile_is_kept_with_the_agreement(world, tmp_path):
    store = world.store(tmp_path, world.agreement)
    assert store.profile(world.agreement).id == "tw"
    with pytest.raises(NotPermittedError, match="another edition"):
        store.keep(world.signed(), profile=shipped_bytes("eu"))
