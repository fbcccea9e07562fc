import threading

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.errors import NotPermittedError, UnknownPartnerError
from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.lookup.bucket import open_bucket
from protocols.lookup.delta import Delta, merge
from protocols.lookup.filter import TagFilter
from protocols.lookup.header import sign_header
from protocols.lookup.table import check_digests, check_table
from server.tables.errors import NotKeptError, VersionConflictError
from server.tables.folder import Part

EPOCH = 5


def publish(tables, manifest, delta):
    return tables.publish(manifest, "police", delta.encode())


def test_published_table_is_what_was_signed(tables, manifest, police):
    publish(tables, manifest, police.step(police.records(3000)))
    publish(tables, manifest, police.step(police.records(50), [police.data[:16]]))
    snapshot = tables.current(EPOCH, "police")
    assert snapshot.signed == police.signed
    data = snapshot.path(Part.TABLE).read_bytes()
    assert data == police.data
    check_table(snapshot.signed.header, data)
    check_digests(snapshot.signed.header, snapshot.path(Part.DIGESTS).read_bytes())
    tags = TagFilter.decode(snapshot.path(Part.FILTER).read_bytes())
    assert all(data[at : at + 16] in tags for at in range(0, len(data), 76))


def test_nothing_is_there_before_the_first_version(tables):
    assert tables.current(EPOCH, "police") is None
    with pytest.raises(NotKeptError):
        tables.snapshot(EPOCH, "police", 1)


def test_same_version_again_changes_nothing(tables, manifest, police):
    first = police.step(police.records(10))
    assert publish(tables, manifest, first).is_new
    assert not publish(tables, manifest, first).is_new
    assert tables.current(EPOCH, "police").version == 1


def test_empty_table_can_be_published_and_read(tables, manifest, police):
    publish(tables, manifest, police.step())
    snapshot = tables.current(EPOCH, "police")
    assert snapshot.path(Part.TABLE).read_bytes() == b""
    assert tables.bucket(snapshot, 0)[:4] == bytes(4)


def test_delta_on_an_old_version_conflicts(tables, manifest, police):
    publish(tables, manifest, police.step(police.records(10)))
    stale = police.delta(police.records(1))
    publish(tables, manifest, police.step(police.records(2)))
    with pytest.raises(VersionConflictError) as refused:
        publish(tables, manifest, stale)
    assert refused.value.current == 2


def test_skipped_version_conflicts(tables, manifest, police):
    police.step(police.records(10))
    with pytest.raises(VersionConflictError) as refused:
        publish(tables, manifest, police.step(police.records(2)))
    assert refused.value.current == 0


@pytest.mark.parametrize("change", [{"hub": "other"}, {"epoch": 6}, {"number": 8}])
def test_header_of_another_table_is_refused(tables, manifest, police, change):
    with pytest.raises(MalformedMessageError, match="table header"):
        publish(tables, manifest, police.delta(police.records(3), **change))
    assert tables.current(EPOCH, "police") is None


def test_foreign_signature_is_refused(tables, manifest, police):
    police.identity = Ed25519PrivateKey.generate()
    with pytest.raises(InvalidProofError):
        publish(tables, manifest, police.delta(police.records(3)))


def test_wrong_root_is_never_put_in_force(tables, manifest, police, tmp_path):
    """The contributor signs the root of one table and sends the records of another."""
    publish(tables, manifest, police.step(police.records(5)))
    signed = police.delta(police.records(5))
    others = b"".join(sorted(police.records(5)))
    with pytest.raises(InvalidProofError):
        publish(tables, manifest, Delta(signed.before, signed.after, b"", others))
    assert tables.current(EPOCH, "police").version == 1
    folder = tmp_path / "tables" / "5" / "police"
    assert not list(folder.glob(".*"))
    assert not list(folder.glob("2.*"))


def test_resigned_header_does_not_replace_a_version(tables, manifest, police):
    """A second header for the version in force, over another table, is a fork."""
    publish(tables, manifest, police.step(police.records(5)))
    police.signed, police.data = None, b""
    with pytest.raises(VersionConflictError):
        publish(tables, manifest, police.step(police.records(5)))


def test_unknown_contributor_is_refused(tables, manifest, police):
    with pytest.raises(NotPermittedError):
        tables.publish(manifest, "insurer", police.delta(police.records(1)).encode())
    with pytest.raises(UnknownPartnerError):
        tables.publish(manifest, "telecom", police.delta(police.records(1)).encode())


@pytest.mark.parametrize("name", ["..", "../police", "a/b", "", ".", "Police", "police\0"])
def test_no_name_leaves_the_directory(tables, name):
    with pytest.raises(MalformedMessageError):
        tables.current(EPOCH, name)


def test_composed_delta_leads_to_the_same_table(tables, manifest, police):
    first = police.step(police.records(400))
    publish(tables, manifest, first)
    base = police.data
    for _ in range(4):
        gone = [police.data[:16], police.data[76 * 9 : 76 * 9 + 16]]
        publish(tables, manifest, police.step(police.records(20), gone))
    snapshot = tables.current(EPOCH, "police")
    composed = Delta.decode(tables.delta(snapshot, 1))
    assert b"".join(merge(base, composed)) == police.data
    assert Delta.decode(tables.delta(snapshot, 4)).is_step
    assert b"".join(merge(b"", Delta.decode(tables.delta(snapshot, 0)))) == police.data


@pytest.mark.parametrize("since", [5, 6, -1])
def test_delta_from_here_or_later_is_none(tables, manifest, police, since):
    for _ in range(5):
        publish(tables, manifest, police.step(police.records(2)))
    with pytest.raises(NotKeptError):
        tables.delta(tables.current(EPOCH, "police"), since)


def test_old_tables_go_and_thirty_deltas_stay(tables, manifest, police, tmp_path):
    for _ in range(33):
        publish(tables, manifest, police.step(police.records(2)))
    folder = tmp_path / "tables" / "5" / "police"
    assert sorted(folder.glob("*.table")) == [folder / "32.table", folder / "33.table"]
    assert {int(path.stem) for path in folder.glob("*.delta")} == set(range(4, 34))
    snapshot = tables.current(EPOCH, "police")
    assert Delta.decode(tables.delta(snapshot, 3)).after == snapshot.signed
    with pytest.raises(NotKeptError):
        tables.delta(snapshot, 2)
    with pytest.raises(NotKeptError):
        tables.snapshot(EPOCH, "police", 3)


def test_all_buckets_have_one_size_and_verify(tables, manifest, police):
    publish(tables, manifest, police.step(police.records(5000)))
    snapshot = tables.current(EPOCH, "police")
    bits = snapshot.signed.header.prefix_bits
    assert bits >= 3
    digests = snapshot.path(Part.DIGESTS).read_bytes()
    padded = [tables.bucket(snapshot, index) for index in range(1 << bits)]
    assert len({len(bucket) for bucket in padded}) == 1
    found = [open_bucket(bucket, digests, bits, i) for i, bucket in enumerate(padded)]
    assert b"".join(found) == police.data
    with pytest.raises(NotKeptError):
        tables.bucket(snapshot, 1 << bits)


def test_one_of_two_simultaneous_publishers_conflicts(tables, manifest, police):
    publish(tables, manifest, police.step(police.records(2000)))
    rivals = [police.delta(police.records(100)) for _ in range(4)]
    outcomes = []

    def attempt(delta):
        try:
            outcomes.append(publish(tables, manifest, delta).signed.header.root)
        except VersionConflictError as error:
            outcomes.append(error.current)

    threads = [threading.Thread(target=attempt, args=(delta,)) for delta in rivals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcomes))[:3] == ["2", "2", "2"]
    assert tables.current(EPOCH, "police").signed.header.root in outcomes


def test_leftovers_of_a_killed_publisher_are_not_served(tables, manifest, police, tmp_path):
    publish(tables, manifest, police.step(police.records(5)))
    folder = tmp_path / "tables" / "5" / "police"
    later = police.delta(police.records(5))
    (folder / "2.header").write_bytes(sign_header(police.identity, later.after.header).encode())
    (folder / "2.table").write_bytes(b"half")
    (folder / ".draft-dead").write_bytes(b"half")
    with pytest.raises(NotKeptError):
        tables.snapshot(EPOCH, "police", 2)
    publish(tables, manifest, later)
    check_table(later.after.header, (folder / "2.table").read_bytes())
    assert not (folder / ".draft-dead").exists()
