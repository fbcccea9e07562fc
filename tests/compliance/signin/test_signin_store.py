"""The store of sign-ins: what it keeps, gives out once, and counts, over threads and processes."""

import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from compliance.log.errors import StorageError
from compliance.signin.store import SqliteSignIns
from compliance.signin.values import Identity, Method, Passkey, Session

SESSION = Session(b"k" * 32, "amy", b"s" * 16, Method.PASSWORD, 100, 100, 100, "Firefox")
PASSKEY = Passkey(b"id", "amy", b"h" * 32, b"public", 5, "name", 100, 100)


@pytest.fixture
def store(tmp_path):
    found = SqliteSignIns(tmp_path)
    yield found
    found.close()


def test_sessions_are_kept_touched_proved_and_ended(store):
    other = replace(SESSION, key=b"o" * 32, seen=200)
    store.add_session(SESSION)
    store.add_session(other)
    assert store.session(SESSION.key) == SESSION
    assert list(store.sessions("amy")) == [other, SESSION]
    store.touch(SESSION.key, seen=300)
    store.prove(SESSION.key, proved=301)
    assert store.session(SESSION.key) == replace(SESSION, seen=300, proved=301)
    assert store.end_sessions("amy", but=other.key) == 1
    store.end_session(other.key)
    assert store.session(other.key) is None


def test_sweeping_takes_what_is_old_by_either_rule(store):
    for key, seen, created in ((b"1", 50, 50), (b"2", 90, 10), (b"3", 90, 50)):
        store.add_session(replace(SESSION, key=key, seen=seen, created=created))
    store.sweep(seen=60, created=20, now=0)
    assert [session.key for session in store.sessions("amy")] == [b"3"]


def test_a_challenge_is_given_to_one_of_many(store):
    store.add_challenge(b"key", b"value", until=200, most=10)
    got = []
    threads = [
        threading.Thread(target=lambda: got.append(store.take_challenge(b"key", now=100)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got, key=bool) == [None] * 7 + [b"value"]


def test_challenges_run_out_and_are_not_without_number(store):
    store.add_challenge(b"a", b"1", until=200, most=2)
    store.add_challenge(b"a", b"2", until=200, most=2)
    assert store.add_challenge(b"b", b"3", until=200, most=2)
    assert not store.add_challenge(b"c", b"4", until=200, most=2)
    assert store.take_challenge(b"a", now=199) == b"2"
    assert store.take_challenge(b"b", now=200) is None


def test_a_counter_moves_from_where_it_stood(store):
    assert store.add_passkey(PASSKEY)
    assert not store.add_passkey(replace(PASSKEY, account="otto"))
    assert store.count_passkey(b"id", before=5, after=6, now=200)
    assert not store.count_passkey(b"id", before=5, after=7, now=200)
    assert store.passkey(b"id") == replace(PASSKEY, sign_count=6, used=200)
    assert not store.remove_passkey("otto", b"id")
    assert store.remove_passkey("amy", b"id")
    assert list(store.passkeys("amy")) == []


def test_identities_are_bound_replaced_and_unbound(store):
    one = Identity("https://i", "s", "amy", is_managed=False, bound=1)
    store.bind(one)
    assert store.identity("https://i", "s") == one
    assert store.identity("https://other", "s") is None
    moved = replace(one, account="otto", is_managed=True)
    store.bind(moved)
    assert (list(store.identities("amy")), list(store.identities("otto"))) == ([], [moved])
    assert store.unbind("otto") == 1


def test_what_was_confirmed_survives_a_kill(store, tmp_path):
    code = """
import os, signal, sys
from pathlib import Path
from compliance.signin.store import SqliteSignIns
store = SqliteSignIns(Path(sys.argv[1]))
store.add_challenge(b"key", b"value", until=200, most=10)
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code, tmp_path], check=False)
    assert store.take_challenge(b"key", now=100) == b"value"


def test_a_file_that_is_no_store_is_told(tmp_path):
    (tmp_path / "signin.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(StorageError, match=r"signin.sqlite"):
        SqliteSignIns(tmp_path)


def test_a_later_store_is_not_touched(tmp_path, store):
    store._connection.execute("PRAGMA user_version = 9")
    with pytest.raises(StorageError, match="another version"):
        SqliteSignIns(tmp_path)
