"""`lianfang node map` and `refresh`, as operators and nightly jobs run them."""

import json
import sqlite3

import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from clients.node.cli_map import map_table, refresh
from clients.node.home import load_contract
from clients.node.joining import make_node
from clients.output import explain

ROWS = 300
SECRET = 987654.25
app = typer.Typer()
app.command(name="map")(map_table)
app.command()(refresh)


def run(*arguments):
    result = CliRunner().invoke(app, [*map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return explain(result.exception), str(result.exception)
    return result.exit_code, result.stdout


def said(*arguments):
    code, text = run(*arguments, "--format", "json")
    value = json.loads(text)
    assert value["next"]
    return code, value


def table(path, **changes):
    columns = {
        "id": [f"k{row}" for row in range(ROWS)],
        "age": [20.0 + row % 60 for row in range(ROWS)],
        "tariff": [("flat", "prepaid")[row % 2] for row in range(ROWS)],
        "mail": [f"p{row}@example.com" for row in range(ROWS)],
        "y": [row % 2 for row in range(ROWS)],
    }
    pl.DataFrame(columns | changes).write_parquet(path)
    return path


NAMED = ("--identifier", "id", "--kind", "opaque", "--label", "y")


def test_draft_is_written_proved_and_told(tmp_path):
    source = table(tmp_path / "t.parquet")
    node = tmp_path / "node"
    code, value = said("map", node, source, *NAMED)
    assert (code, value["holds"], value["columns"]) == (0, True, ["age", "tariff"])
    (left,) = value["left_out"]
    assert (left["column"], left["reason"]) == ("mail", "holds e-mail addresses")
    assert value["sample"]["holds"]
    path = node / "contract-draft.json"
    assert value["contract"] == str(path)
    assert load_contract(path).label == "y"
    assert "lianfang node init" in value["next"]
    make_node(node, name="bank", table=source, contract=path, held_out_column=None)
    assert said("map", node, "--check")[1]["holds"]


def test_text_shows_a_table_and_why_ranges_are_wide(tmp_path):
    code, text = run("map", tmp_path / "node", table(tmp_path / "t.parquet"), *NAMED)
    assert code == 0
    assert "300 rows against the contract" in text
    assert "mail: holds e-mail addresses; leave it out" in text
    assert "an exact minimum or maximum is the value of one person" in text
    assert text.splitlines()[-1].startswith("Next: ")
    assert "example.com" not in text


def test_check_ends_with_3_where_the_contract_does_not_hold(tmp_path):
    node = tmp_path / "node"
    run("map", node, table(tmp_path / "t.parquet"), *NAMED)
    ages = [SECRET] * 2 + [None] + [30.0] * (ROWS - 3)
    worse = table(tmp_path / "later.parquet", age=ages)
    code, value = said("map", node, worse, "--check")
    assert (code, value["holds"], value["proof"]["rows"]) == (3, False, ROWS)
    (found,) = [one for one in value["proof"]["columns"] if not one["holds"]]
    assert (found["column"], found["outside"], found["missing"]) == ("age", 2, 1)
    code, text = run("map", node, worse, "--check")
    assert code == 3
    assert "age: 2 rows are outside 0 to 80; clip them or agree a wider range" in text
    assert "BREAKS" in text
    assert str(SECRET) not in text


def test_edited_draft_is_not_lost(tmp_path):
    node, source = tmp_path / "node", table(tmp_path / "t.parquet")
    run("map", node, source, *NAMED)
    path = node / "contract-draft.json"
    path.write_text(path.read_text().replace("80.0", "120.0"))
    code, error = run("map", node, source, *NAMED)
    assert code == 4
    assert "may have been edited" in error
    assert "120.0" in path.read_text()
    assert run("map", node, source, *NAMED, "--overwrite")[0] == 0
    assert "120.0" not in path.read_text()


def test_held_out_column_is_no_feature(tmp_path):
    source = table(tmp_path / "t.parquet", held=[row % 3 == 0 for row in range(ROWS)])
    node = tmp_path / "node"
    run("map", node, source, *NAMED, "--without", "held")
    draft = node / "contract-draft.json"
    make_node(node, name="bank", table=source, contract=draft, held_out_column="held")
    code, value = said("map", node, source, *NAMED, "--overwrite")
    assert code == 0
    assert "held" not in value["columns"]
    roles = {one["column"]: one["role"] for one in value["proof"]["columns"]}
    assert roles["held"] == "label"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("postgresql://u:geheim-61937@h/db",), "--url-env or --url-file"),
        (("none.parquet",), "no such file"),
        (("t.xlsx",), "--url-env"),
        (("customers", "--url-env", "NO_SUCH_VARIABLE"), "empty or not set"),
        (("t.parquet", "--snapshot"), "--snapshot: is of a database"),
        (("--url-env", "NO_SUCH_VARIABLE"), "name the database's table"),
        ((), "node.json: not found"),
    ],
)
def test_what_cannot_be_is_told_with_its_cure(tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    code, error = run("map", tmp_path / "node", *arguments)
    assert code == 4
    assert says in error
    assert "geheim" not in error
    assert not (tmp_path / "node").exists()


def test_unknown_kind_is_a_wrong_command_line(tmp_path):
    source = table(tmp_path / "t.parquet")
    assert run("map", tmp_path / "node", source, "--kind", "passport")[0] == 2


def test_database_is_mapped_kept_and_taken_again(tmp_path, monkeypatch):
    path = tmp_path / "crm.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE customers (id TEXT, age REAL, mail TEXT)")
        connection.executemany(
            "INSERT INTO customers VALUES (?, ?, ?)",
            [(f"k{row}", 20.0 + row % 60, f"p{row}@example.com") for row in range(ROWS)],
        )
    connection.close()
    monkeypatch.setenv("CRM", f"sqlite:///{path}")
    node = tmp_path / "node"
    code, value = said("map", node, "customers", "--url-env", "CRM", *NAMED[:4], "--snapshot")
    assert (code, value["columns"]) == (0, ["age"])
    kept = value["snapshot"]
    assert pl.read_parquet(kept).columns == ["id", "age"]
    assert kept in value["next"]
    make_node(
        node, name="bank", table=node / "snapshot" / "table.parquet",
        contract=node / "contract-draft.json", held_out_column=None,
    )  # fmt: skip
    code, value = said("refresh", node)
    assert (code, value["replaced"], value["proof"]["rows"]) == (0, True, ROWS)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE customers SET age = 500 WHERE id = 'k7'")
    connection.close()
    code, value = said("refresh", node)
    assert (code, value["replaced"]) == (3, False)
    assert "former snapshot stays" in run("refresh", node)[1]
