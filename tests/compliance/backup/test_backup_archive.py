"""Backups of directories: what is in them, under load, and what a damaged one leaves."""

import json
import os
import sqlite3
import threading
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.atrest.envelope import Material
from compliance.atrest.errors import SealedKeysError
from compliance.backup.content import Way, content_of
from compliance.backup.making import Subject, make_backup
from compliance.backup.manifest import Manifest
from compliance.backup.records import check_name
from compliance.backup.restoring import restore_backup, verify_backup
from compliance.backup.settled import MARK, RestoredError, check_settled, finish, restored
from compliance.configuration import ConfigError
from compliance.entries import Scope
from compliance.journal import Journal
from compliance.ledger import Cap, Ledger
from protocols.dp.events import Gaussian

KEY = Material.of_key(b"k" * 32)
NOW = 1_780_000_000
FILES = {
    "node.json": b"{}",
    "keys/tls.key": b"t" * 40,
    "runs/spring/plan.json": b"plan",
    "lookup/tables/1/police/1.table": bytes(5_000_000),
    "log-second/log.checkpoint": b"note",
}
LEFT_OUT = {
    "keys/witness.key": b"w",
    "witness/state.json": b"w",
    "runs/spring/ephemeral.key": b"e",
    "runs/spring/run.key": b"r",
    "runs/spring/announced.json": b"a",
    "runs/spring/checkpoint-4.bin": b"c",
    "staff/consents.journal": b"c",
    "flower/state.sqlite": b"f",
    "staff/accounts.lock": b"",
    "tables/1/police/lock": b"",
    ".node.json.0011223344556677": b"d",
}


@pytest.fixture
def root(tmp_path):
    found = tmp_path / "node"
    for name, data in (FILES | LEFT_OUT).items():
        (found / name).parent.mkdir(parents=True, exist_ok=True)
        (found / name).write_bytes(data)
        (found / name).chmod(0o600)
    return found


def back_up(root, tmp_path, name="one.backup"):
    subject = Subject(root, "node", "insurer")
    return make_backup(subject, tmp_path / name, KEY, now=NOW)


def restore(tmp_path, name="one.backup", into="back", **options):
    options = {"kind": "node", "now": NOW + 9} | options
    return restore_backup(tmp_path / name, tmp_path / into, KEY, **options)


def files_of(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_restored_directory_has_the_files_and_a_mark(root, tmp_path):
    made = back_up(root, tmp_path)
    assert {part.name for part in made.parts} == set(FILES)
    mark = restore(tmp_path)
    found = files_of(tmp_path / "back")
    assert json.loads(found.pop(MARK))["made_at"] == mark.made_at == NOW
    assert found == FILES
    assert (tmp_path / "back" / "keys" / "tls.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "back").stat().st_mode & 0o777 == 0o700


def test_second_place_comes_first_and_journals_last(root, tmp_path):
    with closing(Journal(root / "book.journal")):
        pass
    with closing(sqlite3.connect(root / "log.sqlite")) as database:
        database.execute("CREATE TABLE one (value)")
    ways = [way for way, _ in content_of(root)]
    assert ways == sorted(ways)
    assert ways[0] is Way.SECOND
    assert ways[-2:] == [Way.DATABASE, Way.JOURNAL]
    assert [part.name for part in back_up(root, tmp_path).parts][-2:] == [
        "log.sqlite", "book.journal",
    ]  # fmt: skip


def test_nothing_acts_before_a_restore_is_settled(root, tmp_path):
    back_up(root, tmp_path)
    restore(tmp_path)
    check_settled(root)
    with pytest.raises(RestoredError, match="lianfang settle"):
        check_settled(tmp_path / "back")
    finish(tmp_path / "back", restored(tmp_path / "back"), {"found": "nothing"})
    check_settled(tmp_path / "back")


def test_content_lies_nowhere_in_clear(root, tmp_path):
    (root / "node.json").write_bytes(b"a text that is found again")
    back_up(root, tmp_path)
    assert b"a text that is found again" not in (tmp_path / "one.backup").read_bytes()
    assert not list(root.glob(".backup-*"))


def test_writers_go_on_while_a_copy_is_made(root, tmp_path):
    """Two rows and a frame belong together; every copy has all of them or none."""
    begun, stop = threading.Event(), threading.Event()

    def write():
        number = 0
        with closing(sqlite3.connect(root / "log.sqlite", timeout=30)) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("CREATE TABLE pair (number)")
            with closing(Journal(root / "ledger.journal")) as journal:
                while not stop.is_set():
                    number += 1
                    # Charge first, then the entry: as every act does.
                    with journal.exclusive():
                        journal.append(str(number).encode())
                    with database:
                        database.execute("INSERT INTO pair VALUES (?)", (number,))
                        database.execute("INSERT INTO pair VALUES (?)", (number,))
                    begun.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert begun.wait(30)
    try:
        for at in range(4):
            back_up(root, tmp_path, f"{at}.backup")
    finally:
        stop.set()
        writer.join()
    counts = []
    for at in range(4):
        restore(tmp_path, f"{at}.backup", f"back-{at}")
        with closing(sqlite3.connect(tmp_path / f"back-{at}" / "log.sqlite")) as database:
            rows = database.execute("SELECT count(*) FROM pair").fetchone()[0]
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        journal = Journal(tmp_path / f"back-{at}" / "ledger.journal")
        with closing(journal), journal.exclusive() as records:
            assert rows % 2 == 0
            assert len(records) >= rows // 2
            counts.append(len(records))
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]


def test_open_run_counts_as_spent_in_full(root, tmp_path):
    scope = Scope("people", "insurer", "police")
    caps = {scope: Cap(3.0, 1e-5), scope.over_recipients: Cap(3.0, 1e-5)}
    path = root / "ledger" / "budget.journal"
    path.parent.mkdir()
    with closing(Ledger(path, caps)) as ledger:
        ledger.reserve("spring", [scope], Gaussian(10.0, 8), NOW)
        ledger.charge("spring", "step", Gaussian(10.0, 2), NOW)
        full = ledger.committed(scope)
    back_up(root, tmp_path)
    # What the run pays after the backup is not in it.
    with closing(Ledger(path, caps)) as ledger:
        ledger.charge("spring", "step", Gaussian(10.0, 6), NOW)
    assert restore(tmp_path).spent_runs == ("spring",)
    with closing(Ledger(tmp_path / "back" / "ledger" / "budget.journal", caps)) as ledger:
        assert ledger.spent(scope) == pytest.approx(full)
        assert not ledger.open_runs()


def test_sessions_of_the_staff_end(root, tmp_path):
    path = root / "staff" / "signin.sqlite"
    names = ("session", "challenge", "passkey")
    with closing(sqlite3.connect(path)) as database, database:
        for name in names:
            database.execute(f"CREATE TABLE {name} (key)")
            database.execute(f"INSERT INTO {name} VALUES (1)")
    back_up(root, tmp_path)
    restore(tmp_path)
    with closing(sqlite3.connect(tmp_path / "back" / "staff" / "signin.sqlite")) as database:
        counts = [database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names]
    assert counts == [0, 0, 1]


def test_full_directories_and_files_are_not_replaced(root, tmp_path):
    back_up(root, tmp_path)
    with pytest.raises(ConfigError, match="exists already"):
        back_up(root, tmp_path)
    with pytest.raises(ConfigError, match="not empty"):
        restore(tmp_path, into="node")
    with pytest.raises(ConfigError, match="of a node"):
        restore(tmp_path, kind="hub")
    assert not (tmp_path / "back").exists()


def test_every_damage_is_refused_and_leaves_nothing(root, tmp_path):
    (root / "lookup/tables/1/police/1.table").write_bytes(bytes(1_000))
    back_up(root, tmp_path)
    good = (tmp_path / "one.backup").read_bytes()
    before = sorted(tmp_path.iterdir())
    for at in (*range(0, len(good), 97), len(good) - 1):
        bad = bytearray(good)
        bad[at] ^= 4
        (tmp_path / "one.backup").write_bytes(bad)
        with pytest.raises(SealedKeysError):
            restore(tmp_path)
    for end in (0, 3, 50, len(good) // 2, len(good) - 1):
        (tmp_path / "one.backup").write_bytes(good[:end])
        with pytest.raises(SealedKeysError):
            restore(tmp_path)
    assert sorted(tmp_path.iterdir()) == before


def test_leftovers_of_killed_commands_go(root, tmp_path):
    (root / ".backup-00").mkdir()
    (root / ".backup-00" / "copy.sqlite").write_bytes(b"x")
    back_up(root, tmp_path)
    (tmp_path / ".back.restoring-00").mkdir()
    restore(tmp_path)
    assert not list(root.glob(".backup-*"))
    assert not list(tmp_path.glob(".back.restoring-*"))


def test_backup_is_verified_without_writing(root, tmp_path):
    made = back_up(root, tmp_path)
    found = verify_backup(tmp_path / "one.backup", KEY)
    assert (found.parts, found.size) == (made.parts, made.size)
    assert os.listdir(tmp_path).count("node") == 1  # noqa: PTH208  names alone


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../up", "a/../../b", "a//b", "a/", "./a", "a\0b", "database:x y"]
)
def test_names_that_lead_elsewhere_are_refused(name):
    with pytest.raises(SealedKeysError):
        check_name(name)


@given(st.binary(max_size=200))
def test_any_bytes_are_no_manifest(data):
    with pytest.raises(SealedKeysError):
        Manifest.parse(data)
