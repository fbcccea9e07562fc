"""Opening databases: made ready when new, refused when of another version or unsafe."""

import threading
import traceback
from dataclasses import replace

import pytest
from sqlalchemy import inspect

from compliance.configuration import ConfigError
from compliance.log import schema
from compliance.log.engine import open_engine, writing
from compliance.log.errors import StorageError
from compliance.log.sqlstore import SqlStorage
from compliance.log.storage import Place


def set_version(address, version):
    engine = open_engine(address)
    with writing(engine).begin() as connection:
        connection.execute(schema.VERSIONS.update().values(version=version))
    engine.dispose()


def test_new_database_gets_all_tables_once(address):
    SqlStorage.open(address).close()
    storage = SqlStorage.open(address)
    schema.migrate(storage._engine)
    names = set(inspect(storage._engine).get_table_names())
    assert names == {
        "tlog", "tlog_entry", "tlog_tile", "tlog_part", "tlog_part_key", "tlog_document",
        "tlog_schema",
    }  # fmt: skip
    storage.close()


def test_many_may_open_a_new_database_at_once(address):
    errors = []

    def work():
        try:
            storage = SqlStorage.open(address)
            storage.register("hub.example/audit/2026")
            storage.close()
        except StorageError as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    storage = SqlStorage.open(address)
    assert storage.origins() == ["hub.example/audit/2026"]
    storage.close()


def test_database_of_another_version_is_refused(address, monkeypatch):
    SqlStorage.open(address).close()
    set_version(address, len(schema.MIGRATIONS) + 1)
    with pytest.raises(ConfigError, match="update the program"):
        SqlStorage.open(address)
    set_version(address, len(schema.MIGRATIONS))
    ran = []
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ran.append))
    with pytest.raises(ConfigError, match="migrate it"):
        SqlStorage.open(address)
    assert not ran
    engine = open_engine(address)
    schema.migrate(engine)
    schema.migrate(engine)
    engine.dispose()
    assert len(ran) == 1
    SqlStorage.open(address).close()


def test_documents_of_earlier_entries_are_found_after_the_migration(address, tools, tmp_path):
    storage = SqlStorage.open(address)
    log = tools.World(storage, tmp_path).open()
    digest = b"d" * 32
    log.append(tools.make_entry(0))
    log.append(replace(tools.make_entry(1), document=digest))
    with storage._writing() as connection:
        schema.DOCUMENTS.drop(connection)
    storage.close()
    set_version(address, 1)
    engine = open_engine(address)
    schema.migrate(engine)
    engine.dispose()
    storage = SqlStorage.open(address)
    assert storage.find_documents(digest) == [Place(log.origin, 1)]
    storage.close()


def test_failed_migration_leaves_the_database_as_it_was(address, monkeypatch):
    SqlStorage.open(address).close()

    def broken(connection):
        connection.exec_driver_sql("ALTER TABLE tlog ADD COLUMN more INTEGER")
        connection.exec_driver_sql("no statement")

    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
    engine = open_engine(address)
    with pytest.raises(StorageError):
        schema.migrate(engine)
    monkeypatch.undo()
    columns = {column["name"] for column in inspect(engine).get_columns("tlog")}
    assert "more" not in columns
    engine.dispose()
    SqlStorage.open(address).close()


@pytest.mark.parametrize("wrong", ["", "log.db", "sqlite://", "mysql://host/log", "sqlite:///"])
def test_wrong_address_is_refused(wrong):
    with pytest.raises(ConfigError, match="database"):
        SqlStorage.open(wrong)


def test_unreachable_database_is_told_without_its_address(tmp_path):
    for address in (
        f"sqlite:///{tmp_path}/missing/log.db",
        f"postgresql://name:secret@/log?host={tmp_path}",
    ):
        with pytest.raises(StorageError) as caught:
            SqlStorage.open(address)
        assert "secret" not in str(caught.value)
    (tmp_path / "text.db").write_text("no database, but long enough to look like one" * 30)
    with pytest.raises(StorageError):
        SqlStorage.open(f"sqlite:///{tmp_path}/text.db")


def test_values_stay_out_of_errors(address):
    storage = SqlStorage.open(address)
    storage.register("hub.example/audit/2026")
    row = {"origin": "secret-name", "hashes": b"", "minimum": 0}
    for values in (row | {"size": None}, row | {"nowhere": 1}):
        with pytest.raises(StorageError) as caught, storage._writing() as connection:
            connection.execute(schema.LOGS.insert().values(values))
        assert "secret-name" not in "".join(traceback.format_exception(caught.value))
    storage.close()


def test_commits_reach_the_disk(address):
    engine = open_engine(address)
    if engine.dialect.name == "sqlite":
        expected = {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1}
        with engine.connect() as connection:
            for name, value in expected.items():
                assert connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() == value
    else:
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
    engine.dispose()


def test_database_file_is_its_owners_alone(tmp_path):
    storage = SqlStorage.open(f"sqlite:///{tmp_path}/log.db")
    storage.register("hub.example/audit/2026")
    files = list(tmp_path.iterdir())
    assert len(files) == 3
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files)
    storage.close()
