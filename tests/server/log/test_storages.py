"""The hub's log over the database of hub.json: SQLite beside it, or a real PostgreSQL."""

import json
import logging
from dataclasses import replace

import pytest

from compliance.clock import FixedClock
from compliance.configuration import ConfigError
from compliance.errors import LogCorruptError
from compliance.log.errors import StorageError
from protocols.tlog.entry import Decision, Entry, Outcome, Verb
from server.checks import examine
from server.home import HubHome
from server.log.examining import database_checks
from server.log.opening import open_log
from server.log.storages import storage_of

NOW = 1_795_305_600
SECRET = "correct-horse-battery-61937"
VARIABLE = "LIANFANG_DATABASE_PASSWORD"
ENTRY = Entry(
    sequence=0,
    time=NOW,
    organisation="hub",
    actor=b"a" * 16,
    verb=Verb.ALTER,
    act="approve",
    purpose="https://w3id.org/dpv#FraudPreventionAndDetection",
    basis="none",
    agreement=None,
    policy_set=b"p" * 32,
    policies=("default-deny",),
    decision=Decision.PERMIT,
    outcome=Outcome.DONE,
    subject_matter="partners",
    recipients=("insurer",),
    count=1,
    document=None,
    charge=None,
    commitment=b"c" * 32,
)


@pytest.fixture
def make_hub(tmp_path):
    def make(database="", name="hub"):
        home = HubHome(tmp_path / name)
        ports = dict.fromkeys(("link_port", "fleet_port", "api_port"), 0)
        home.create(name=name, host="127.0.0.1", **ports, now=NOW, database=database)
        return home

    return make


@pytest.fixture(params=["sqlite", "postgres"])
def hub(request, make_hub):
    if request.param == "sqlite":
        return make_hub()
    return make_hub(request.getfixturevalue("postgres")())


@pytest.fixture
def with_password(postgres):
    """A role that needs a password, and the address of a schema of its own without it."""
    name = f"clerk{next(postgres.numbers)}"
    postgres.run(
        f"CREATE ROLE {name} LOGIN PASSWORD '{SECRET}'",
        f"CREATE SCHEMA {name} AUTHORIZATION {name}",
    )
    yield f"postgresql+psycopg://{name}@/postgres?host={postgres.folder}"
    postgres.run(f"DROP SCHEMA {name} CASCADE", f"DROP ROLE {name}")


def findings(home):
    return {item["check"]: item for item in examine(home.root)}


def database_findings(home):
    names = {check[0] for check in database_checks(home.settings().database)}
    return {name: item for name, item in findings(home).items() if name in names}


def test_storage_begins_empty_and_goes_on(hub):
    with_one = storage_of(hub)
    assert not with_one.origins()
    with_one.register("hub/audit/2026")
    with_one.close()
    again = storage_of(hub)
    assert again.origins() == ["hub/audit/2026"]
    again.close()


def test_hub_with_a_server_leaves_no_database_in_its_directory(make_hub, postgres):
    home = make_hub(postgres())
    storage_of(home).close()
    assert not list(home.root.rglob("*.sqlite*"))
    assert json.loads((home.root / "hub.json").read_text())["database"].startswith("postgresql")


def test_settings_without_the_field_mean_sqlite(make_hub):
    home = make_hub()
    path = home.root / "hub.json"
    settings = json.loads(path.read_text())
    del settings["database"]
    path.write_text(json.dumps(settings))
    assert home.settings().database == ""
    storage_of(home).close()
    assert (home.root / "log" / "log.sqlite").exists()


def test_log_of_another_storage_is_not_left_behind(make_hub, postgres):
    home = make_hub()
    storage_of(home).close()
    path = home.root / "hub.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"database": postgres()}))
    with pytest.raises(ConfigError, match=r"lies in log/log\.sqlite"):
        storage_of(home)


WRONG = {
    "no address": ("geheim-61937", "not an address"),
    "ports in a list": ("postgresql://a:1,b:2/geheim-61937", "not an address"),
    "another system": ("mysql://u@h/geheim-61937", "not PostgreSQL"),
    "another driver": ("postgresql+psycopg2://u@h/geheim-61937", "not PostgreSQL"),
    "password": ("postgresql://u:geheim-61937@h/db", "holds a password"),
    "empty password": ("postgresql://u:@h/geheim-61937", "holds a password"),
    "password behind": ("postgresql://u@h/db?password=geheim-61937", "holds a password"),
    "of a key": ("postgresql://u@h/db?sslpassword=geheim-61937", "holds a password"),
    "unknown parameter": ("postgresql://u@h/db?pass=geheim-61937", "unknown to libpq"),
    "twice": ("postgresql://u@h/db?passfile=/a&passfile=/geheim-61937", "there twice"),
    "relative passfile": ("postgresql://u@h/db?passfile=geheim-61937", "absolute path"),
    "not a variable": ("postgresql://u@h/db?password_env=geheim-61937", "name of one variable"),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_wrong_setting_is_refused_and_not_repeated(make_hub, tmp_path, case):
    setting, says = case
    with pytest.raises(ConfigError, match=says) as caught:
        make_hub(setting)
    shown = caught.getrepr(showlocals=False, chain=True, style="value")
    assert "61937" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert "61937" not in str(shown)
    assert not (tmp_path / "hub").exists()
    home = make_hub()
    path = home.root / "hub.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"database": setting}))
    with pytest.raises(ConfigError, match=says):
        home.settings()
    assert "61937" not in json.dumps(examine(home.root))


@pytest.mark.parametrize("way", ["variable", "passfile", "PGPASSFILE"])
def test_password_comes_from_elsewhere(make_hub, with_password, tmp_path, monkeypatch, way):
    passfile = tmp_path / "pgpass"
    passfile.write_text(f"*:*:*:*:{SECRET}\n")
    passfile.chmod(0o600)
    match way:
        case "variable":
            monkeypatch.setenv(VARIABLE, SECRET)
            with_password += f"&password_env={VARIABLE}"
        case "passfile":
            with_password += f"&passfile={passfile}"
        case "PGPASSFILE":
            monkeypatch.setenv("PGPASSFILE", str(passfile))
    home = make_hub(with_password)
    storage = storage_of(home)
    storage.register("hub/audit/2026")
    assert SECRET not in repr(storage._engine) + str(storage._engine.url)
    storage.close()
    assert all(item["ok"] for item in database_findings(home).values())
    files = [path for path in home.root.rglob("*") if path.is_file()]
    assert files
    assert not any(SECRET.encode() in path.read_bytes() for path in files)


@pytest.mark.parametrize("given", [None, "", f"{SECRET}-not"])
def test_password_that_is_missing_or_wrong_is_told_and_not_shown(
    make_hub, with_password, monkeypatch, caplog, given
):
    caplog.set_level(logging.DEBUG)
    if given is None:
        monkeypatch.delenv(VARIABLE, raising=False)
    else:
        monkeypatch.setenv(VARIABLE, given)
    home = make_hub(f"{with_password}&password_env={VARIABLE}")
    with pytest.raises((ConfigError, StorageError)) as caught:
        storage_of(home)
    if not given:
        assert f"the environment variable {VARIABLE} is not set" in str(caught.value)
    found = findings(home)["the database is reached"]
    assert not found["ok"]
    assert found["found"].startswith("database: ")
    shown = str(caught.getrepr(showlocals=False, chain=True))
    for text in (shown, caplog.text, json.dumps(found)):
        assert SECRET not in text


def test_server_that_is_away_is_told_without_waiting(make_hub, tmp_path):
    home = make_hub(f"postgresql://u@/db?host={tmp_path}")
    with pytest.raises(StorageError):
        storage_of(home)
    found = database_findings(home)
    assert [item["ok"] for item in found.values()] == [False]
    assert "start the server" in found["the database is reached"]["cure"]


def test_doctor_finds_a_fit_server_fit(make_hub, postgres):
    home = make_hub(postgres())
    for _ in range(2):  # before the tables are made, and after
        found = database_findings(home)
        assert len(found) == 7
        assert all(item["ok"] for item in found.values()), found
        storage_of(home).close()


def test_doctor_names_missing_rights(make_hub, postgres, with_password, monkeypatch):
    monkeypatch.setenv(VARIABLE, SECRET)
    owned = postgres()
    schema = owned.rpartition("%3D")[2]
    storage_of(make_hub(owned, "owner")).close()
    role = with_password.split("//")[1].split("@")[0]
    home = make_hub(f"{with_password}&password_env={VARIABLE}&options=-csearch_path%3D{schema}")
    check = "the database's tables are ours to use"
    assert not findings(home)[check]["ok"]  # not even the schema may be seen
    postgres.run(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    postgres.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}")
    found = findings(home)[check]
    assert "tlog_entry" in found["found"]
    assert "GRANT SELECT, INSERT, UPDATE, DELETE" in found["cure"]
    postgres.run(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}")
    assert findings(home)[check]["ok"]
    postgres.run(f"DROP SCHEMA {schema} CASCADE")


def test_server_that_loses_confirmed_writes_is_refused_and_told(make_hub, postgres):
    home = make_hub(postgres())
    check = "the database loses no confirmed write"
    assert findings(home)[check]["ok"]
    postgres.stop()
    postgres.start(fsync="off")
    try:
        with pytest.raises(ConfigError, match="fsync off"):
            storage_of(home)
        found = findings(home)[check]
        assert (found["ok"], found["found"]) == (False, "database: fsync is off")
    finally:
        postgres.stop()
        postgres.start()
    storage_of(home).close()


def test_database_of_a_later_program_is_refused(hub):
    storage_of(hub).close()
    storage = storage_of(hub)
    with storage._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    storage.close()
    with pytest.raises(ConfigError, match="update the program"):
        storage_of(hub)


def test_emptied_database_is_noticed_by_the_second_place(hub):
    """A server that lost the log does not pass for a new one."""
    clock = FixedClock(NOW)
    with open_log(hub, clock=clock) as log:
        log.yearly.append(ENTRY)
        log.yearly.append(replace(ENTRY, commitment=b"d" * 32))
        log.yearly.checkpoint()
        with log.storage._engine.begin() as connection:
            for table in ("tlog_entry", "tlog_tile", "tlog_part", "tlog_part_key", "tlog"):
                connection.exec_driver_sql(f"DELETE FROM {table}")
    with pytest.raises(LogCorruptError, match="put back"):
        open_log(hub, clock=clock)


@pytest.mark.parametrize("name", ["log.key", "parts.key"])
def test_lost_key_of_a_begun_log_is_told_and_not_made_anew(hub, name):
    clock = FixedClock(NOW)
    open_log(hub, clock=clock).close()
    (hub.root / "log" / name).unlink()
    with pytest.raises(ConfigError, match="restore"):
        open_log(hub, clock=clock)
    assert not (hub.root / "log" / name).exists()


def test_log_of_a_hub_lies_where_its_settings_say(hub):
    with open_log(hub, clock=FixedClock(NOW)) as log:
        log.yearly.append(ENTRY)
    kept = (hub.root / "log" / "log.sqlite").exists()
    assert kept is not bool(hub.settings().database)
    storage = storage_of(hub)
    assert storage.edge("hub/audit/2026").size == 1
    storage.close()
