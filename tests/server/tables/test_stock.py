"""Two workers with directories of their own and one database: what one publishes both serve."""

import threading

import pytest

from protocols.errors import InvalidProofError
from protocols.lookup.acknowledgement import Acknowledgement, sign_acknowledgement
from protocols.lookup.delta import Delta
from server.tables.errors import VersionConflictError
from server.tables.folder import Part
from server.tables.store import Tables

HUB, EPOCH = "lianfang", 5


@pytest.fixture
def workers(fresh, tmp_path, police):
    """Two workers; insurer and police sign with one key here."""
    public = police.identity.public_key()
    known = {"police": public, "insurer": public}
    return [
        Tables(tmp_path / name, hub=HUB, identities=known.get, keeping=fresh)
        for name in ("one", "two")
    ]


def read(tables, part=Part.TABLE):
    return tables.current(EPOCH, "police").path(part).read_bytes()


def test_what_one_publishes_the_other_serves(workers, manifest, police):
    one, two = workers
    assert two.current(EPOCH, "police") is None
    one.publish(manifest, "police", police.step(police.records(300)).encode())
    assert read(two) == police.data
    for part in Part:
        assert read(one, part) == read(two, part)
    with two.current(EPOCH, "police").folder.mapped(1) as data:
        assert bytes(data) == police.data


def test_versions_may_be_published_at_either(workers, manifest, police):
    for number in range(6):
        step = police.step(police.records(20))
        workers[number % 2].publish(manifest, "police", step.encode())
        for tables in workers:
            assert tables.current(EPOCH, "police").version == number + 1
            assert read(tables) == police.data
    one, two = workers
    snapshot = one.current(EPOCH, "police")
    assert one.delta(snapshot, 0) == two.delta(two.current(EPOCH, "police"), 0)


def test_old_versions_go_in_both_directories_and_the_database(workers, manifest, police, tmp_path):
    for _ in range(4):
        workers[0].publish(manifest, "police", police.step(police.records(5)).encode())
        assert read(workers[1]) == police.data
    for name in ("one", "two"):
        found = sorted(path.name for path in (tmp_path / name).rglob("*.table"))
        assert found == ["3.table", "4.table"]
    stock = workers[0].current(EPOCH, "police").folder.stock
    kept = {name for name in stock.documents.names() if ".table." in name}
    assert kept == {"3.table.0", "4.table.0"}


def test_leftover_of_a_publisher_that_died_is_nobody_s(workers, manifest, police, tmp_path):
    """It had written all of its version but that it is in force; another version came then."""
    one, two = workers
    one.publish(manifest, "police", police.step(police.records(5)).encode())
    folder = one.current(EPOCH, "police").folder
    folder.stock.documents.put("2.table.0", b"leftover")
    folder.stock.documents.put("2.parts", b'{"table": 8}')
    two.publish(manifest, "police", police.step(police.records(7)).encode())
    assert read(one) == read(two) == police.data


def test_refused_entry_leaves_the_version_before(workers, manifest, police, tmp_path):
    one, two = workers
    one.publish(manifest, "police", police.step(police.records(5)).encode())
    before, step = police.data, police.step(police.records(5))

    def refuse(_):
        raise InvalidProofError("the log cannot be written")

    with pytest.raises(InvalidProofError):
        one.publish(manifest, "police", step.encode(), enter=refuse)
    assert read(one) == read(two) == before
    assert not list((tmp_path / "one").rglob("2.*"))
    assert two.publish(manifest, "police", step.encode()).is_new
    assert read(one) == police.data


def test_of_two_that_publish_at_once_one_is_told(workers, manifest, police):
    first, second = (police.delta(police.records(9)) for _ in range(2))
    told = []

    def publish(tables, delta):
        try:
            tables.publish(manifest, "police", delta.encode())
        except VersionConflictError as error:
            told.append(error.current)

    threads = [
        threading.Thread(target=publish, args=pair)
        for pair in zip(workers, (first, second), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == [1]
    in_force = workers[0].current(EPOCH, "police").signed
    assert in_force in (first.after, second.after)
    assert read(workers[0]) == read(workers[1])
    assert Delta.decode(workers[1].delta(workers[1].current(EPOCH, "police"), 0)).is_step


def test_acknowledged_at_one_is_acknowledged_at_the_other(workers, manifest, police):
    one, two = workers
    one.publish(manifest, "police", police.step(police.records(5)).encode())
    header = one.current(EPOCH, "police").signed.header
    said = Acknowledgement.of(header, reader="insurer", now=1)
    signed = sign_acknowledgement(police.identity, said)
    assert one.acknowledge(signed, enter=lambda _: None)
    assert not two.acknowledge(signed, enter=lambda _: None)
    assert two.acknowledgements(EPOCH, "police") == [signed]
