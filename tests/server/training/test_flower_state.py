"""Flower's database is whole whenever it is there, whatever happened while it was made."""

import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from server.training.flower_state import prepare

# Of Flower's own configuration of its migrations.
pytestmark = pytest.mark.filterwarnings("ignore:No path_separator found:DeprecationWarning")

# Dies without a word at the given statement of a migration.
KILLED = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import Engine, event
from server.training.flower_state import prepare

left = [int(sys.argv[2])]

@event.listens_for(Engine, "before_cursor_execute")
def count(*_):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)

prepare(Path(sys.argv[1]))
"""


def tables(path):
    with closing(sqlite3.connect(path)) as database:
        return {name for (name,) in database.execute("SELECT name FROM sqlite_master")}


def note(path, text):
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE noted (text)")
        database.execute("INSERT INTO noted VALUES (?)", (text,))


def test_file_is_made_with_all_tables(tmp_path):
    path = tmp_path / "state.sqlite"
    prepare(path)
    assert {"alembic_version", "objectstore_locks", "run", "node"} <= tables(path)
    assert [file.name for file in tmp_path.iterdir()] == ["state.sqlite"]


def test_file_of_this_version_is_left_as_it_is(tmp_path):
    path = tmp_path / "state.sqlite"
    prepare(path)
    note(path, "kept")
    prepare(path)
    assert "noted" in tables(path)


def test_file_of_another_version_is_made_anew(tmp_path):
    path = tmp_path / "state.sqlite"
    prepare(path)
    note(path, "old")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '8e65d8ae60b0'")
    prepare(path)
    assert "noted" not in tables(path)


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0" + bytes(500), b"no database"])
def test_file_that_cannot_be_read_is_made_anew(tmp_path, content):
    path = tmp_path / "state.sqlite"
    path.write_bytes(content)
    prepare(path)
    assert "run" in tables(path)


def test_half_made_tables_of_an_earlier_start_are_made_anew(tmp_path):
    path = tmp_path / "state.sqlite"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE alembic_version (version_num)")
        database.execute("CREATE TABLE objectstore_locks (lock_id VARCHAR)")
    prepare(path)
    assert "run" in tables(path)


@pytest.mark.parametrize("statement", [3, 12, 40])
def test_killed_maker_leaves_nothing_that_the_next_one_minds(tmp_path, statement):
    path = tmp_path / "state.sqlite"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path), str(statement)], capture_output=True, check=False
    )
    assert done.returncode == -9
    assert not path.exists()
    prepare(path)
    assert "run" in tables(path)
