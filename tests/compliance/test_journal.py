"""The journal under crashes and damage: a torn tail goes, everything else is an alarm."""

import os
import threading

import pytest

from compliance.errors import LogCorruptError
from compliance.frames import MAGIC, MAX_RECORD
from compliance.journal import Journal

RECORDS = [b"first", b"second record", b"x" * 60]


def write(path, records=RECORDS) -> None:
    journal = Journal(path)
    with journal.exclusive():
        for record in records:
            journal.append(record)
    journal.close()


def read(path) -> list[bytes]:
    journal = Journal(path)
    try:
        with journal.exclusive() as records:
            return records
    finally:
        journal.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal"


def test_records_are_there_in_order(path):
    write(path)
    write(path, [b"later"])
    assert read(path) == [*RECORDS, b"later"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_two_objects_see_each_others_records(path):
    ours, theirs = Journal(path), Journal(path)
    with ours.exclusive() as seen:
        assert seen == []
        ours.append(b"ours")
    with theirs.exclusive() as seen:
        assert seen == [b"ours"]
        theirs.append(b"theirs")
    with ours.exclusive() as seen:
        assert seen == [b"theirs"]
    with ours.exclusive() as seen:
        assert seen == []
    ours.close()
    theirs.close()


def test_threads_append_one_after_the_other(path):
    journal = Journal(path)

    def work(name: int) -> None:
        for i in range(20):
            with journal.exclusive():
                journal.append(b"%d %d" % (name, i))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    assert sorted(read(path)) == sorted(b"%d %d" % (n, i) for n in range(4) for i in range(20))


def test_torn_tail_is_taken_off_wherever_it_tore(path):
    write(path, RECORDS[:2])
    kept = path.stat().st_size
    write(path, RECORDS[2:])
    whole = path.read_bytes()
    for size in range(kept, len(whole)):
        path.write_bytes(whole[:size])
        write(path, [b"after"])
        assert read(path) == [*RECORDS[:2], b"after"]


@pytest.mark.parametrize("zeros", [1, 15, 16, 17, 4096])
def test_zeros_left_by_a_failed_disk_are_taken_off(path, zeros):
    write(path)
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(zeros))
    assert read(path) == RECORDS
    # The size of the last frame reached the disk, its last sector did not.
    path.write_bytes(whole[:-40] + bytes(40))
    assert read(path) == RECORDS[:2]


def test_every_flipped_bit_is_an_alarm(path):
    write(path, [b"one", b"two"])
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(LogCorruptError):
            read(path)
        # Nothing was cut off: what is there can still be looked into.
        assert path.read_bytes() == bytes(damaged)


def frames(whole: bytes) -> list[bytes]:
    sizes = [16 + len(record) + 32 for record in RECORDS]
    starts = [len(MAGIC) + sum(sizes[:k]) for k in range(3)]
    return [whole[start : start + size] for start, size in zip(starts, sizes, strict=True)]


@pytest.mark.parametrize("order", [(1, 2), (0, 2), (1, 0, 2), (0, 0, 1, 2)])
def test_missing_moved_or_repeated_record_is_an_alarm(path, order):
    write(path)
    parts = frames(path.read_bytes())
    path.write_bytes(MAGIC + b"".join(parts[k] for k in order))
    with pytest.raises(LogCorruptError):
        read(path)


def test_file_that_shrinks_under_a_reader_is_an_alarm(path):
    write(path)
    journal = Journal(path)
    with journal.exclusive():
        pass
    os.truncate(path, len(MAGIC))
    with pytest.raises(LogCorruptError), journal.exclusive():
        pass
    journal.close()


def test_foreign_file_is_refused_and_kept(path):
    path.write_bytes(b"something else entirely")
    with pytest.raises(LogCorruptError):
        Journal(path)
    assert path.read_bytes() == b"something else entirely"


@pytest.mark.parametrize("start", [b"", MAGIC[:5], bytes(16)])
def test_torn_first_write_is_begun_again(path, start):
    path.write_bytes(start)
    write(path)
    assert read(path) == RECORDS


@pytest.mark.parametrize("stored", [True, False])
def test_failed_write_stops_the_object_and_not_the_file(path, monkeypatch, stored):
    write(path)
    journal = Journal(path)

    def fail(*_args) -> int:
        raise OSError("disk")

    with journal.exclusive():
        monkeypatch.setattr(os, "fsync" if stored else "write", fail)
        with pytest.raises(OSError, match="disk"):
            journal.append(b"doubtful")
        monkeypatch.undo()
    with pytest.raises(RuntimeError), journal.exclusive():
        pass
    journal.close()
    assert read(path) == RECORDS + [b"doubtful"] * stored


def test_append_needs_the_lock_and_a_size(path):
    journal = Journal(path)
    with pytest.raises(RuntimeError):
        journal.append(b"alone")
    with journal.exclusive():
        for record in (b"", bytes(MAX_RECORD + 1)):
            with pytest.raises(ValueError, match="record"):
                journal.append(record)
        journal.append(b"fine")
    journal.close()
    assert read(path) == [b"fine"]
    with pytest.raises(RuntimeError), journal.exclusive():
        pass


def test_records_appended_together_are_there_in_order(path):
    journal = Journal(path)
    with journal.exclusive():
        journal.append_all(RECORDS)
        journal.append(b"later")
    with journal.exclusive() as records:
        assert records == []
    journal.close()
    assert read(path) == [*RECORDS, b"later"]


def test_bad_record_among_others_leaves_nothing(path):
    journal = Journal(path)
    with journal.exclusive(), pytest.raises(ValueError, match="record: 0 bytes"):
        journal.append_all([b"first", b""])
    with journal.exclusive() as records:
        assert records == []
        journal.append(b"second")
    journal.close()
    assert read(path) == [b"second"]
