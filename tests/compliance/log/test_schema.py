"""Opening databases: made ready when new, refused when they cannot be reached or are unsafe."""

import threading
import traceback

import pytest

from compliance.configuration import ConfigError
from compliance.log.errors import StorageError
from compliance.log.sqlstore import SqlStorage
from compliance.state.engine import open_engine


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
        names = ", ".join(values)
        statement = f"INSERT INTO tlog ({names}) VALUES (?, ?, ?, ?{', ?' * (len(values) - 4)})"
        with pytest.raises(StorageError) as caught, storage._transactions.writing() as work:
            work.run(statement, tuple(values.values()))
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
