"""Every released database opens with all that it holds, and goes back to where it came from."""

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from sqlalchemy.engine import make_url

from compliance.configuration import ConfigError
from compliance.log.private import PrivateParts
from compliance.log.sqlstore import SqlStorage
from compliance.log.storage import Erasure, Place
from compliance.state import migrating, schema
from compliance.state.database import open_state
from compliance.state.engine import open_engine, writing
from compliance.state.errors import StateUnavailableError
from compliance.state.migrating import HEAD, REVISIONS, migrate, revision_of

RELEASED = Path(__file__).with_name("released")
ORIGIN = "hub.example/audit/2026"
UPS = [(old, new) for old in REVISIONS for new in REVISIONS if old < new]


@pytest.fixture
def released(kind, make_address):
    """Make a database as a program of some release left it; return its address."""

    def make(revision):
        address = make_address(f"released-{revision}")
        dump = (RELEASED / f"{revision}.{kind}.sql").read_text()
        if kind == "sqlite":
            connection = sqlite3.connect(make_url(address).database)
            connection.executescript(dump)
            connection.close()
            return address
        engine = open_engine(address)
        raw = engine.raw_connection()
        raw.cursor().execute(dump)
        raw.commit()
        raw.close()
        engine.dispose()
        return address

    return make


def contents(engine, *, of=None):
    """Return all rows by table, without the version."""
    found = {}
    with engine.connect() as connection:
        for name in inspect(connection).get_table_names():
            if (of is None or name in of) and name not in {"tlog_schema", "alembic_version"}:
                rows = connection.execute(schema.METADATA.tables[name].select()).all()
                found[name] = sorted(map(repr, rows))
    return found


def shape(engine):
    """Return tables with their columns, keys and indices."""
    tables = inspect(engine)
    return {
        name: (
            [
                (column["name"], str(column["type"]), column["nullable"])
                for column in tables.get_columns(name)
            ],
            tables.get_pk_constraint(name)["constrained_columns"],
            sorted(str(found["column_names"]) for found in tables.get_unique_constraints(name)),
            sorted(
                str((found["name"], found["column_names"])) for found in tables.get_indexes(name)
            ),
        )
        for name in tables.get_table_names()
    }


def version(engine):
    with engine.connect() as connection:
        number = connection.execute(text("SELECT version FROM tlog_schema")).scalar_one()
        return revision_of(connection), number


def empty_state(engine):
    """Take out what an older program has no place for."""
    with writing(engine).begin() as connection:
        for table in (schema.RECORDS, schema.STATE_DOCUMENTS):
            connection.execute(table.delete())


def test_known_revisions_are_those_of_the_migrations():
    found = ScriptDirectory(str(migrating._MIGRATIONS)).walk_revisions()
    assert tuple(reversed([script.revision for script in found])) == REVISIONS


def test_every_release_has_its_dumps():
    names = {path.name for path in RELEASED.glob("*.sql")}
    kinds = ("sqlite", "postgresql")
    assert names == {f"{revision}.{kind}.sql" for revision in REVISIONS for kind in kinds}


def test_migrations_make_what_a_new_database_has(make_address):
    with open_state(make_address("new")) as new:
        engine = open_engine(make_address("migrated"))
        for revision in REVISIONS:
            migrate(engine, revision)
        assert shape(engine) == shape(new.engine)
        assert version(engine) == version(new.engine) == (HEAD, len(REVISIONS))
        with engine.connect() as connection:
            found = MigrationContext.configure(connection)
            assert compare_metadata(found, schema.METADATA) == []
        engine.dispose()


@pytest.mark.parametrize("revision", REVISIONS)
def test_released_database_opens_with_all_it_holds(released, revision):
    address = released(revision)
    engine = open_engine(address)
    before = contents(engine)
    engine.dispose()
    with open_state(address) as state:
        state.check()
        assert version(state.engine) == (HEAD, len(REVISIONS))
        after = contents(state.engine)
    assert {name: after[name] for name in before} == before
    storage = SqlStorage.open(address)
    assert storage.edge(ORIGIN).size == 3
    assert storage.find_documents(b"d" * 32) == [Place(ORIGIN, 0)]
    parts = PrivateParts(storage, master_key=b"m" * 32, index_key=b"i" * 32, random=bytes)
    assert parts.find_case("case-1") == [Place(ORIGIN, 2)]
    assert storage.part(Place(ORIGIN, 1)) == Erasure(1_795_305_601)
    storage.register("hub.example/audit/2027")
    storage.close()


def test_journals_and_documents_of_a_release_are_read(released):
    with open_state(released("0003")) as state:
        with state.journal("book").exclusive() as records:
            assert records == [b"first", b"second"]
        assert state.documents("tables").all() == {"a": b"1", "b": b""}


@pytest.mark.parametrize(("old", "new"), UPS)
def test_migration_goes_up_and_down_with_the_data(released, old, new):
    engine = open_engine(released(old))
    before, look = contents(engine), shape(engine)
    migrate(engine, new)
    up = contents(engine)
    assert version(engine) == (new, REVISIONS.index(new) + 1)
    migrate(engine, old)
    assert version(engine) == (old, REVISIONS.index(old) + 1)
    assert contents(engine) == before
    assert shape(engine) | look == shape(engine)
    migrate(engine, new)
    assert contents(engine) == up
    engine.dispose()


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_newest_release_goes_down_once_its_own_is_taken_out(released, revision):
    engine = open_engine(released(HEAD))
    before = contents(engine)
    with pytest.raises(ConfigError, match="no place for it"):
        migrate(engine, revision)
    assert contents(engine) == before
    empty_state(engine)
    migrate(engine, revision)
    kept = contents(engine)
    assert {name: before[name] for name in kept} == kept
    engine.dispose()


def test_database_of_a_later_program_is_refused_and_kept(make_address):
    for statement in (
        "UPDATE alembic_version SET version_num = '9999'",
        "DROP TABLE alembic_version; UPDATE tlog_schema SET version = 99",
    ):
        address = make_address(f"later-{len(statement)}")
        with open_state(address) as state:
            state.documents("tables").put("a", b"1")
            with writing(state.engine).begin() as connection:
                for one in statement.split(";"):
                    connection.exec_driver_sql(one)
            with pytest.raises(StateUnavailableError):
                state.check()
            before = contents(state.engine)
        for opening in (open_state, SqlStorage.open):
            with pytest.raises(ConfigError, match="update the program, or restore"):
                opening(address)
        engine = open_engine(address)
        assert contents(engine) == before
        engine.dispose()


def test_failed_migration_leaves_the_database_as_it_was(released, monkeypatch):
    address = released("0001")
    engine = open_engine(address)
    before, look = contents(engine), shape(engine)

    class BrokenError(Exception):
        pass

    def fail(*arguments):
        done(*arguments)
        raise BrokenError

    done = migrating._run
    monkeypatch.setattr(migrating, "_run", fail)
    with pytest.raises(BrokenError):
        open_state(address)
    monkeypatch.undo()
    assert (contents(engine), shape(engine)) == (before, look)
    engine.dispose()
    with open_state(address) as state:
        state.check()


@pytest.mark.parametrize("revision", [None, "0001"])
def test_many_may_open_a_database_at_once(released, address, revision):
    address = address if revision is None else released(revision)
    errors = []

    def work():
        try:
            with open_state(address) as state:
                state.documents("tables").put_new("a", b"1")
        except Exception as error:  # noqa: BLE001 - told by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    with open_state(address) as state:
        assert state.documents("tables").names() == ["a"]


def test_alembic_is_loaded_for_a_migration_alone(released):
    look = (
        "import sys; from compliance.state.database import open_state; "
        "open_state(sys.argv[1]).close(); print('alembic' in sys.modules)"
    )
    address = released("0002")
    for expected in ("True", "False"):
        done = subprocess.run(
            [sys.executable, "-c", look, address],
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == expected
