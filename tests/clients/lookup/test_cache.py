import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from clients.lookup.cache import OutputCache
from clients.lookup.sealed import SealedRows
from clients.lookup.secrets import SealBrokenError, derive_key, keep_secret, seal, unseal
from clients.node.home import Home
from protocols.lookup.derivation import derive_root, derive_tags
from protocols.oprf.errors import WrongEpochError


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def names(count, start=0):
    return [b"name %d" % number for number in range(start, start + count)]


def outputs(count, start=0):
    return [bytes([number % 251]) * 64 for number in range(start, start + count)]


def test_roots_come_back_by_identifier(home):
    cache = OutputCache(home, 5, os.urandom)
    cache.add(names(1000), outputs(1000))
    again = OutputCache(home, 5, os.urandom)
    rows = again.positions(again.tokens([*names(1000), b"stranger"]))
    assert rows[-1] == -1
    assert again.roots(rows[:-1]) == [derive_root(5, output) for output in outputs(1000)]
    assert len(again) == 1000


def test_empty_cache_knows_nobody(home):
    cache = OutputCache(home, 5, os.urandom)
    assert cache.positions(cache.tokens(names(3))).tolist() == [-1, -1, -1]
    assert len(cache) == 0
    assert cache.tags(1).shape == (0, 2)


def test_epochs_do_not_share_outputs(home):
    OutputCache(home, 5, os.urandom).add(names(3), outputs(3))
    other = OutputCache(home, 6, os.urandom)
    assert other.positions(other.tokens(names(3))).tolist() == [-1, -1, -1]


def test_tags_follow_the_rows_as_they_grow(home):
    cache = OutputCache(home, 5, os.urandom)
    for start in (0, 10, 30):
        cache.add(names(10, start), outputs(10, start))
        tags = cache.tags(2)
        assert len(tags) == len(cache)
        for row, root in enumerate(cache.roots(np.arange(len(cache)))):
            expected = [int.from_bytes(tag[:8], "big") for tag in derive_tags(root, 2)]
            assert tags[row].tolist() == expected
    assert OutputCache(home, 5, os.urandom).tags(2).tolist() == cache.tags(2).tolist()


def test_no_identifier_and_no_root_is_in_the_files(home):
    cache = OutputCache(home, 5, os.urandom)
    cache.add([b"a person's number"], outputs(1))
    cache.tags(1)
    for path in home.root.rglob("*.*"):
        data = path.read_bytes()
        assert b"a person's number" not in data
        assert derive_root(5, outputs(1)[0]) not in data
        assert path.stat().st_mode & 0o077 == 0


def test_two_objects_append_without_losing_anything(home):
    one, two = (OutputCache(home, 5, os.urandom) for _ in range(2))
    for start in range(0, 40, 10):
        one.add(names(5, start), outputs(5, start))
        two.add(names(5, start + 5), outputs(5, start + 5))
    for cache in (one, two):
        rows = cache.positions(cache.tokens(names(40)))
        assert (rows >= 0).all()
        assert cache.roots(rows) == [derive_root(5, output) for output in outputs(40)]


def rows_file(path, key=bytes(32), name=b"n"):
    return SealedRows(path, key, name, 4, os.urandom)


def some_rows(count, first=0):
    return np.arange(first, first + count, dtype=">u4").view(np.uint8).reshape(-1, 4)


def test_file_cut_anywhere_loses_only_what_was_not_confirmed(tmp_path):
    path = tmp_path / "rows"
    ends = [0]
    for chunk in range(3):
        assert rows_file(path).append(some_rows(5, 5 * chunk), 5 * chunk)
        ends.append(path.stat().st_size)
    whole = path.read_bytes()
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        confirmed = 5 * sum(size >= end for end in ends[1:])
        column = rows_file(path)
        assert len(column.load()) == confirmed
        # And it can be continued.
        assert column.append(some_rows(2, confirmed), confirmed)
        assert rows_file(path).load().tobytes() == some_rows(confirmed + 2).tobytes()


def test_changed_byte_is_found(tmp_path):
    path = tmp_path / "rows"
    rows_file(path).append(some_rows(5), 0)
    rows_file(path).append(some_rows(5, 5), 5)
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            found = rows_file(path).load()
        except SealBrokenError:
            continue
        # A changed length may look like a chunk that was cut short; it never gives other rows.
        assert some_rows(10).tobytes().startswith(found.tobytes())
        assert len(found) < 10


def test_chunks_cannot_be_exchanged_or_moved_to_another_file(tmp_path):
    path = tmp_path / "rows"
    rows_file(path).append(some_rows(5), 0)
    first = path.stat().st_size
    rows_file(path).append(some_rows(5, 5), 5)
    whole = path.read_bytes()
    path.write_bytes(whole[:16] + whole[first:] + whole[16:first])
    with pytest.raises(SealBrokenError):
        rows_file(path).load()
    path.write_bytes(whole)
    for other in (rows_file(path, name=b"m"), rows_file(path, key=bytes(31) + b"1")):
        with pytest.raises(SealBrokenError):
            other.load()


def test_append_behind_others_is_refused(tmp_path):
    path = tmp_path / "rows"
    one, two = rows_file(path), rows_file(path)
    assert one.append(some_rows(3), 0)
    assert not two.append(some_rows(3), 0)
    assert two.append(some_rows(3, 3), 3)
    assert len(one.load()) == 6


WRITER = textwrap.dedent("""
    import os, sys
    from pathlib import Path
    from clients.lookup.cache import OutputCache
    from clients.node.home import Home
    cache = OutputCache(Home(Path(sys.argv[1])), 5, os.urandom)
    start = 0
    while True:
        cache.add([b"name %d" % n for n in range(start, start + 50)], [bytes(64)] * 50)
        start += 50
        print(start, flush=True)
""")


def test_killed_writer_loses_nothing_that_it_confirmed(home):
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(home.root)], stdout=subprocess.PIPE, text=True
    ) as process:
        for _ in range(20):
            confirmed = int(process.stdout.readline())
        process.kill()
        confirmed = int(([confirmed, *process.stdout.read().split()])[-1])
    cache = OutputCache(home, 5, os.urandom)
    assert len(cache) >= confirmed >= 1000
    assert (cache.positions(cache.tokens(names(confirmed))) >= 0).all()


def test_secrets_are_made_once_and_kept_private(tmp_path):
    key = keep_secret(tmp_path / "k.key", os.urandom)
    assert keep_secret(tmp_path / "k.key", os.urandom) == key
    assert derive_key(key, b"a") != derive_key(key, b"b")
    sealed = seal(key, b"text", b"bound", os.urandom)
    assert unseal(key, sealed, b"bound", "file") == b"text"
    for wrong in (sealed[:-1], sealed[:5], b"", sealed + b"x"):
        with pytest.raises(SealBrokenError):
            unseal(key, wrong, b"bound", "file")
    with pytest.raises(SealBrokenError):
        unseal(key, sealed, b"other", "file")


def test_identifier_without_a_row_has_no_root(home):
    cache = OutputCache(home, 5, os.urandom)
    cache.add(names(3), outputs(3))
    rows = cache.positions(cache.tokens([*names(2), b"stranger"]))
    with pytest.raises(WrongEpochError):
        cache.roots(rows)  # the last row of somebody else must not stand in for it
