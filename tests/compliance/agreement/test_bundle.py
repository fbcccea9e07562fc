"""An agreement as it travels, and what a store makes of what arrives."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.agreement.bundle import MAX_SIZE, Bundle
from compliance.agreement.profile import profile_digest, shipped_bytes
from compliance.agreement.revocation import revoke
from compliance.agreement.store import AgreementStore, State
from compliance.errors import LogCorruptError, NotPermittedError
from protocols.errors import InvalidProofError, MalformedMessageError


@pytest.fixture
def bundle(world):
    word = revoke(world.keys["police"], world.agreement, "police", reason="leak", now=world.now)
    return Bundle(world.signed(), (word,), shipped_bytes("tw"))


def test_all_of_it_comes_back(bundle):
    found = Bundle.decode(bundle.encode())
    assert (found.signed, found.revocations) == (bundle.signed, bundle.revocations)
    assert profile_digest(found.profile) == profile_digest(bundle.profile)
    bare = Bundle(bundle.signed)
    assert Bundle.decode(bare.encode()) == bare


def test_files_that_people_pass_on_are_read_too(world):
    signed = world.signed(by=["hub"])
    assert Bundle.decode(signed.format()).signed == signed
    assert Bundle.decode(world.agreement.encode()).signed.signatures == {}


@given(st.binary(max_size=200))
def test_any_other_bytes_fail_in_one_way(data):
    with pytest.raises(MalformedMessageError):
        Bundle.decode(data)


def test_a_changed_byte_is_noticed_or_harmless(bundle):
    data = bundle.encode()
    for at in range(0, len(data), 97):
        broken = data[:at] + bytes([data[at] ^ 0x15]) + data[at + 1 :]
        try:
            Bundle.decode(broken)
        except MalformedMessageError:
            continue
    for size in range(0, len(data), 211):
        with pytest.raises(MalformedMessageError):
            Bundle.decode(data[:size])
    with pytest.raises(MalformedMessageError):
        Bundle.decode(b" " * MAX_SIZE + data)


@pytest.mark.parametrize(
    ("field", "value"),
    [("signatures", []), ("signatures", {"hub": 5}), ("revocations", {}), ("revocations", [5]),
     ("revocations", [{}] * 99), ("profile", "x" * 9), ("more", 1), ("agreement", 2**70)],
)  # fmt: skip
def test_members_of_another_kind_fail_in_one_way(bundle, field, value):
    changed = json.loads(bundle.encode()) | {field: value}
    if field == "profile":
        # Whatever it is, it is the profile only if it has the hash that is named.
        assert Bundle.decode(json.dumps(changed).encode()).profile == b'"xxxxxxxxx"'
        return
    with pytest.raises(MalformedMessageError):
        Bundle.decode(json.dumps(changed).encode())


def test_one_signature_at_a_time(world, tmp_path):
    store = AgreementStore(tmp_path, world.pinned)
    digest = store.keep(world.signed(by=[]))
    words = world.signed().signatures
    for name in world.agreement.names:
        assert store.state(digest, world.now) is State.DRAFT
        assert store.keep_signature(digest, name, words[name])
        assert not store.keep_signature(digest, name, words[name])
    assert store.in_force(world.now) == world.agreement
    with pytest.raises(InvalidProofError):
        store.keep_signature(digest, "hub", words["police"])
    with pytest.raises(NotPermittedError, match="not here"):
        store.keep_signature(bytes(32), "hub", words["hub"])


def test_a_higher_number_of_the_series_supersedes_without_those_between(world, tmp_path):
    third = replace(world.agreement, version=3, supersedes=bytes(32))
    store = world.store(tmp_path, third)
    store.keep(world.signed())
    assert store.in_force(world.now) == third
    assert store.state(world.agreement.digest, world.now) is State.SUPERSEDED


def test_a_revoked_draft_stays_revoked_whoever_signs_it(world, tmp_path):
    store = AgreementStore(tmp_path, world.pinned)
    store.keep(world.signed(by=["hub"]))
    word = revoke(world.keys["police"], world.agreement, "police", reason="no", now=world.now)
    assert store.keep_revocation(word, now=world.now)
    assert not store.keep_revocation(word, now=world.now)
    store.keep(world.signed())
    assert store.state(world.agreement.digest, world.now) is State.REVOKED


def test_a_draft_of_another_series_does_not_keep_this_one_out(world, tmp_path):
    store = AgreementStore(tmp_path, world.pinned)
    store.keep(world.signed(replace(world.agreement, name="other"), by=["hub"]))
    store.keep(world.signed())
    assert store.in_force(world.now) == world.agreement


def test_only_what_does_not_follow_is_refused_a_place_beside_another(world, tmp_path):
    store = world.store(tmp_path, world.agreement)
    store.check_succession(world.agreement, world.now)
    store.check_succession(world.after(), world.now)
    ends = world.agreement.not_after
    later = replace(world.agreement, name="other", not_before=ends, not_after=ends + 9)
    store.check_succession(later, world.now)
    with pytest.raises(NotPermittedError, match="in force beside"):
        store.check_succession(replace(later, not_before=ends - 1), world.now)


def test_what_is_read_once_is_read_again_only_where_it_changed(world, tmp_path):
    store = world.store(tmp_path, world.agreement)
    first = store.versions()[world.agreement.digest]
    mark = store.fingerprint()
    store.keep(world.signed(world.after(), by=["hub"]))
    assert store.versions()[world.agreement.digest] is first
    assert store.fingerprint() != mark
    store.keep_signature(
        world.after().digest, "police", world.signed(world.after()).signatures["police"]
    )
    assert store.versions()[world.after().digest].signers == ("hub", "police")


def test_what_is_being_written_is_no_version(world, tmp_path):
    store = world.store(tmp_path, world.agreement)
    (tmp_path / f".{world.agreement.digest.hex()}.json.0123").write_bytes(b"half")
    assert store.in_force(world.now) == world.agreement


def test_a_damaged_profile_is_told_and_not_replaced(world, tmp_path):
    store = world.store(tmp_path, world.agreement)
    path = next((tmp_path / "profiles").iterdir())
    path.write_bytes(b"{}")
    with pytest.raises(LogCorruptError):
        store.keep(world.signed(), profile=shipped_bytes("tw"))
    assert path.read_bytes() == b"{}"
