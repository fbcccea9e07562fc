"""Rows of real databases: read whole, read only, and no address or row in any message."""

import datetime
import os
import sqlite3
import stat
import time
from decimal import Decimal

import polars as pl
import psycopg
import pytest

from clients.node.files import load_json, store_json
from clients.node.home import Home
from clients.node.mapping.snapshots import (
    Origin,
    columns_of,
    keep_snapshot,
    origin_of,
    refresh,
)
from clients.node.mapping.sql import Database, read_table
from clients.node.table import load_table
from compliance.configuration import ConfigError
from protocols.errors import InvalidTableError, OutOfTurnError

pytest_plugins = ["tests.postgres"]

ROWS = 250
NOW = 1_795_305_600
SECRET = "correct-horse-61937"
CREATE = (
    "CREATE TABLE customers (id TEXT, calls INTEGER, tariff TEXT, fee NUMERIC(10, 2), "
    "since DATE, active BOOLEAN, note TEXT)"
)
CALLS = [row % 300 if row % 7 else None for row in range(ROWS)]


def values():
    day = datetime.date(2001, 2, 3)
    for row in range(ROWS):
        tariff = ("flat", "prepaid", None)[row % 3]
        yield f"p{row}", CALLS[row], tariff, Decimal(row) / 4, day, row % 2 == 0, None


def made_sqlite(path):
    with sqlite3.connect(path) as connection:
        connection.execute(CREATE)
        rows = [
            (*row[:3], float(row[3]), row[4].isoformat(), int(row[5]), row[6]) for row in values()
        ]
        connection.executemany("INSERT INTO customers VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    connection.close()
    return f"sqlite:///{path}"


def made_postgres(address):
    with psycopg.connect(address) as connection:
        connection.execute(CREATE)
        with connection.cursor() as cursor:
            insert = "INSERT INTO customers VALUES (%s, %s, %s, %s, %s, %s, %s)"
            cursor.executemany(insert, list(values()))
    return address.replace("postgresql:", "postgresql+psycopg:")


@pytest.fixture(params=["sqlite", "postgres"])
def database(request, tmp_path, monkeypatch):
    """The address of a database with a table of customers, in a variable."""
    if request.param == "sqlite":
        url = made_sqlite(tmp_path / "crm.sqlite")
    else:
        url = made_postgres(request.getfixturevalue("postgres")())
    monkeypatch.setenv("CRM", url)
    return Database("CRM")


def test_table_is_read_with_its_types(database):
    told = []
    address = database.address(os.environ)
    rows = read_table(address, "customers", progress=lambda *step: told.append(step))
    frame = rows.frame
    assert frame["id"].to_list() == [f"p{row}" for row in range(ROWS)]
    assert frame["calls"].to_list() == CALLS
    assert frame["fee"].to_list() == [row / 4 for row in range(ROWS)]
    assert frame["note"].null_count() == ROWS
    assert told[-1] == ("reading rows", ROWS, ROWS)
    if address.get_backend_name() == "postgresql":
        assert frame["active"].dtype == pl.Boolean
        assert rows.unreadable["since"].startswith("holds dates or times")
        assert "since" not in frame.columns
    else:  # it has no such types
        assert set(frame["active"].to_list()) == {0, 1}
        assert frame["since"].dtype == pl.String


def test_only_the_wanted_columns_are_asked_for(database):
    rows = read_table(database.address(os.environ), "customers", columns=["id", "calls", "none"])
    assert rows.frame.columns == ["id", "calls"]
    assert rows.unreadable == {}


def test_table_that_is_not_there_is_told(database):
    with pytest.raises(InvalidTableError, match="has none of this name"):
        read_table(database.address(os.environ), "nothing")


def test_schema_is_named_before_the_table(postgres, monkeypatch):
    address = postgres()
    made_postgres(address)
    schema = address.rpartition("%3D")[2]
    monkeypatch.setenv("CRM", postgres.address)
    found = Database("CRM").address(os.environ)
    assert read_table(found, f"{schema}.customers").frame.height == ROWS


def test_mixed_cells_become_text_and_large_numbers_stay_whole(tmp_path, monkeypatch):
    path = tmp_path / "mixed.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a, b, c, d)")
        connection.executemany(
            "INSERT INTO t VALUES (?, ?, ?, ?)",
            [(1, 1, b"\x00", 2**62), ("x", 2.5, b"\x01", 7), (None, None, None, None)],
        )
    connection.close()
    monkeypatch.setenv("CRM", f"sqlite:///{path}")
    rows = read_table(Database("CRM").address(os.environ), "t")
    assert rows.frame["a"].to_list() == ["1", "x", None]
    assert rows.frame["b"].to_list() == [1.0, 2.5, None]
    assert rows.frame["d"].to_list() == [2**62, 7, None]
    assert rows.unreadable == {"c": "holds values of type bytes; convert it in a view"}


def test_reading_writes_nothing_and_makes_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv("CRM", f"sqlite:///{tmp_path}/none.sqlite")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_table(Database("CRM").address(os.environ), "t")
    assert list(tmp_path.iterdir()) == []


WRONG = {
    "nothing": ("", "empty or not set"),
    "no address": (SECRET, "not an address"),
    "another system": (f"mysql://u:{SECRET}@h/db", "neither sqlite"),
    "away": (f"postgresql+psycopg://u:{SECRET}@/db?host=/nowhere", "cannot be read"),
    "unknown parameter": (f"postgresql+psycopg://u:{SECRET}@/db?hurst=/nowhere", "cannot be read"),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_wrong_address_is_told_and_never_repeated(monkeypatch, case):
    address, says = case
    monkeypatch.setenv("CRM", address)
    with pytest.raises(ConfigError, match=says) as caught:
        read_table(Database("CRM").address(os.environ), "t")
    shown = str(caught.getrepr(showlocals=False, chain=True, style="value"))
    assert SECRET not in shown
    assert SECRET not in str(caught.value)


def test_address_in_a_file_is_closed_to_others(tmp_path):
    path = tmp_path / "url"
    path.write_text(f"{made_sqlite(tmp_path / 'crm.sqlite')}\n")
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        Database(file=path).address({})
    path.chmod(0o600)
    assert read_table(Database(file=path).address({}), "customers").frame.height == ROWS
    for both in (Database(), Database("CRM", path)):
        with pytest.raises(ConfigError, match="give either"):
            both.address(os.environ)


# ---- snapshots ------------------------------------------------------------------------------


@pytest.fixture
def node(town, database):
    """The telecom's node with a snapshot of its table in the database."""
    home = Home(town.node("telecom"))
    rows = read_table(database.address(os.environ), "customers")
    columns = columns_of(home.contract())
    path = keep_snapshot(home.root, rows.frame, columns, Origin("customers", database), now=NOW)
    store_json(
        home.root / "node.json",
        load_json(home.root / "node.json") | {"table": "snapshot/table.parquet"},
    )
    assert home.config().table == path
    return home


def change(database, statement):
    url = database.address(os.environ)
    if url.get_backend_name() == "sqlite":
        with sqlite3.connect(url.database) as connection:
            connection.execute(statement)
        connection.close()
        return
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain) as connection:
        connection.execute(statement)


def test_snapshot_is_private_and_has_the_columns_of_the_contract_alone(node, database):
    path = node.root / "snapshot" / "table.parquet"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert pl.read_parquet(path).columns == ["id", "calls", "tariff"]
    assert load_table(path, node.contract()).rows == ROWS
    address = database.address(os.environ).render_as_string(hide_password=False)
    assert address not in (path.parent / "source.json").read_text()
    assert origin_of(node.root) == Origin("customers", database)


def test_refresh_takes_the_table_again(node, database):
    change(database, "DELETE FROM customers WHERE calls IS NULL")
    found = refresh(node, environment=os.environ, now=NOW + 1)
    left = sum(calls is not None for calls in CALLS)
    assert (found.replaced, found.proof.rows) == (True, left)
    assert load_table(found.path, node.contract()).rows == left
    assert load_json(node.root / "snapshot" / "source.json")["taken_at"] == NOW + 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE customers SET calls = 5000 WHERE id = 'p3'",
        "UPDATE customers SET tariff = 'gold' WHERE id = 'p3'",
        "ALTER TABLE customers DROP COLUMN calls",
        "DELETE FROM customers",
    ],
)
def test_rows_that_break_the_contract_are_not_put_in_place(node, database, statement):
    before = (node.root / "snapshot" / "table.parquet").read_bytes()
    change(database, statement)
    found = refresh(node, environment=os.environ, now=NOW + 1)
    assert not found.replaced
    assert (node.root / "snapshot" / "table.parquet").read_bytes() == before
    assert sorted(path.name for path in (node.root / "snapshot").iterdir()) == [
        "source.json", "table.parquet",
    ]  # fmt: skip


def test_table_does_not_change_under_an_open_run(town, node, database):
    town.offer("telecom", town.plan())
    with pytest.raises(OutOfTurnError, match=r"1 runs are open here \(spring\)"):
        refresh(node, environment=os.environ, now=int(time.time()))


def test_refresh_without_a_snapshot_or_of_another_table_is_told(town, database):
    home = Home(town.node("telecom"))
    with pytest.raises(ConfigError, match="--snapshot"):
        refresh(home, environment=os.environ, now=NOW)
    frame = pl.DataFrame({"id": ["a"]})
    keep_snapshot(home.root, frame, ("id",), Origin("customers", database), now=NOW)
    with pytest.raises(ConfigError, match=r"node\.json: table is not"):
        refresh(home, environment=os.environ, now=NOW)
