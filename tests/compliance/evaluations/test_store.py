"""A crash at any step of a set-up leaves an epoch that works, and no stray share."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from compliance.errors import LogCorruptError, UnknownEpochError
from compliance.evaluations.store import EpochStore
from protocols.errors import InvalidProofError, OutOfTurnError


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "epochs"


@pytest.fixture
def store(folder):
    return EpochStore(folder)


def put(store, town, made, name="police"):
    store.keep_draft(made.terms.session, made.shares[name])
    return store.activate(made.signed, town.identities)


def files(folder) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_activated_epoch_is_there_with_its_share(store, town, fifth, folder):
    assert put(store, town, fifth) == fifth.manifest
    assert store.share(5).encode() == fifth.shares["police"].encode()
    assert store.signed(5) == fifth.signed
    assert files(folder) == ["5.0.share", "5.json"]
    other = EpochStore(folder)
    assert other.share(5).encode() == fifth.shares["police"].encode()


def test_secrets_are_readable_by_their_owner_alone(store, town, fifth, folder, sixth):
    before = os.umask(0)
    try:
        put(store, town, fifth)
        store.keep_draft(sixth.terms.session, sixth.shares["police"])
        EpochStore(folder.with_name("another"))
    finally:
        os.umask(before)
    secret = list(folder.rglob("*.share"))
    assert len(secret) == 2
    assert {path.stat().st_mode & 0o777 for path in secret} == {0o600}
    for root in (folder, folder.with_name("another")):
        folders = [root, *(path for path in root.iterdir() if path.is_dir())]
        assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}


def test_kill_before_activation_leaves_the_former_epoch(store, town, fifth, refreshed, folder):
    put(store, town, fifth)
    store.keep_draft(refreshed.terms.session, refreshed.shares["police"])
    after = EpochStore(folder)  # as a new process finds it
    assert after.manifest(5) == fifth.manifest
    assert after.share(5).encode() == fifth.shares["police"].encode()
    assert after.draft(refreshed.terms.session).encode() == refreshed.shares["police"].encode()
    assert after.activate(refreshed.signed, town.identities) == refreshed.manifest
    assert after.share(5).encode() == refreshed.shares["police"].encode()


class Killed(BaseException):
    """Stands for the end of the process."""


def activate_and_die(store, made, town, step) -> bool:
    """Activate, but end before the change of a name that is number `step`."""
    done = 0

    def counted(work):
        def wrapper(*args, **named):
            nonlocal done
            done += 1
            if done == step:
                raise Killed
            return work(*args, **named)

        return wrapper

    with pytest.MonkeyPatch.context() as patch:
        # Every change of a name in the file system goes through one of these two.
        patch.setattr(Path, "replace", counted(Path.replace))
        patch.setattr(Path, "unlink", counted(Path.unlink))
        try:
            store.activate(made.signed, town.identities)
        except Killed:
            return True
    return False


@pytest.mark.parametrize("step", range(1, 8))
def test_kill_at_any_step_of_activation_can_be_repaired(town, fifth, refreshed, folder, step):
    store = EpochStore(folder)
    put(store, town, fifth)
    store.keep_draft(refreshed.terms.session, refreshed.shares["police"])
    assert activate_and_die(store, refreshed, town, step) == (step < 7)
    after = EpochStore(folder)
    share, manifest = after.share(5), after.manifest(5)
    assert share.record == manifest.record
    assert manifest in (fifth.manifest, refreshed.manifest)
    after.activate(refreshed.signed, town.identities)
    assert after.share(5).encode() == refreshed.shares["police"].encode()
    assert files(folder) == ["5.1.share", "5.json"]


def test_activation_may_be_repeated(store, town, fifth, folder):
    put(store, town, fifth)
    assert store.activate(fifth.signed, town.identities) == fifth.manifest
    assert files(folder) == ["5.0.share", "5.json"]


def test_activation_needs_its_draft_and_all_signatures(store, town, fifth, refreshed, folder):
    with pytest.raises(UnknownEpochError, match="repeat the key set-up"):
        store.activate(fifth.signed, town.identities)
    put(store, town, fifth)
    store.keep_draft(refreshed.terms.session, refreshed.shares["police"])
    signatures = dict(refreshed.signed.signatures)
    del signatures["hub"]
    with pytest.raises(InvalidProofError, match="signature of hub is missing"):
        store.activate(replace(refreshed.signed, signatures=signatures), town.identities)
    assert store.manifest(5) == fifth.manifest
    assert store.share(5).encode() == fifth.shares["police"].encode()


def test_second_key_or_older_shares_of_an_epoch_are_refused(store, town, fifth, refreshed):
    put(store, town, fifth)
    second = town.make(replace(fifth.terms, session=b"another session."))
    with pytest.raises(InvalidProofError, match="does not come after"):
        put(store, town, second)
    put(store, town, refreshed)
    with pytest.raises(InvalidProofError, match="does not come after"):
        store.activate(fifth.signed, town.identities)
    assert store.manifest(5) == refreshed.manifest


def test_number_of_any_earlier_epoch_is_not_given_again(store, town, fifth, sixth):
    put(store, town, fifth)
    put(store, town, sixth)
    terms = replace(sixth.terms, epoch=7, session=b"session-of-7....")
    taken = town.make(replace(terms, contributors={"telecom": 1}))
    with pytest.raises(InvalidProofError, match="number 1 of telecom belonged to police"):
        put(store, town, taken)
    assert store.epochs() == (5, 6)


def test_epoch_in_force_goes_by_validity(store, town, fifth, sixth, folder):
    # Written in the other order, and touched: neither may matter.
    put(store, town, fifth)
    put(store, town, sixth)
    os.utime(folder / "manifests" / "5.json", (2_000_000_000, 2_000_000_000))
    for now, epoch in ((10_000, 5), (18_999, 5), (19_000, 6), (20_500, 6), (29_999, 6)):
        assert store.current(now).epoch == epoch
    for now in (9_999, 30_000):
        with pytest.raises(UnknownEpochError, match="no epoch is in force"):
            store.current(now)


def test_former_epoch_is_served_to_the_end_of_its_grace(store, town, fifth, sixth):
    put(store, town, fifth)
    put(store, town, sixth)
    moments = {18_999: [5], 19_000: [5, 6], 20_999: [5, 6], 21_000: [6], 31_000: []}
    for now, epochs in moments.items():
        assert [manifest.epoch for manifest in store.served(now)] == epochs


def test_two_processes_see_the_same_epoch(store, town, fifth, refreshed, folder):
    put(store, town, fifth)
    other = EpochStore(folder)
    assert other.share(5).record == fifth.manifest.record
    put(store, town, refreshed)
    assert other.share(5).record == refreshed.manifest.record
    store.destroy_share(5)
    with pytest.raises(UnknownEpochError, match="destroyed"):
        other.share(5)


def test_destroyed_share_is_overwritten_and_gone(store, town, fifth, folder):
    put(store, town, fifth)
    path = folder / "shares" / "5.0.share"
    left = path.with_name(".5.0.share.0123456789abcdef")  # a write that was killed
    left.write_bytes(path.read_bytes())
    kept = folder.with_name("kept")
    os.link(path, kept)  # shows what becomes of the bytes
    store.destroy_share(5)
    assert not any(kept.read_bytes())
    assert files(folder) == ["5.json"]
    store.destroy_share(5)
    assert store.manifest(5) == fifth.manifest


def test_expired_shares_are_destroyed(store, town, fifth, sixth):
    put(store, town, fifth)
    put(store, town, sixth)
    assert store.destroy_expired(20_999) == ()
    assert store.destroy_expired(21_000) == (5,)
    assert store.destroy_expired(21_000) == ()
    assert store.share(6).record == sixth.manifest.record


def test_session_leaves_one_draft(store, fifth, sixth, folder):
    session = fifth.terms.session
    store.keep_draft(session, fifth.shares["police"])
    store.keep_draft(session, fifth.shares["police"])
    with pytest.raises(OutOfTurnError, match="has one already"):
        store.keep_draft(session, sixth.shares["police"])
    store.drop_draft(session)
    store.drop_draft(session)
    assert store.draft(session) is None
    assert files(folder) == []


def test_file_that_was_not_written_here_is_an_alarm(store, town, fifth, sixth, folder):
    put(store, town, fifth)
    share, manifest = folder / "shares" / "5.0.share", folder / "manifests" / "5.json"
    good_share, good_manifest = share.read_bytes(), manifest.read_bytes()
    for wrong in (b"", good_share[:-1], bytes(len(good_share)), sixth.shares["police"].encode()):
        share.write_bytes(wrong)
        with pytest.raises(LogCorruptError, match=r"5\.0\.share"):
            store.share(5)
    share.write_bytes(good_share)
    for wrong in (b"", good_manifest[:-1], sixth.signed.format()):
        manifest.write_bytes(wrong)
        with pytest.raises(LogCorruptError, match=r"5\.json"):
            store.current(15_000)


def test_repr_of_what_is_kept_hides_the_secret(store, town, fifth):
    put(store, town, fifth)
    share = store.share(5)
    for text in (repr(share), str(share), repr(store)):
        assert share.scalar.hex() not in text
        assert repr(share.scalar)[2:-1] not in text
