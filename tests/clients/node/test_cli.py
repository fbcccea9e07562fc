"""`lianfang node`, run as operators run it: one JSON object, exit codes, and no traceback."""

import json

import pytest
from typer.testing import CliRunner

from clients.cli import app
from clients.output import explain

KEY = "cd" * 32


def said(*arguments):
    """Run a command; returns its exit code, its JSON and what it said of an error."""
    result = CliRunner().invoke(app, ["node", *map(str, arguments), "--format", "json"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return explain(result.exception), None, str(result.exception)
    lines = result.stdout.splitlines()
    assert len(lines) == 1
    value = json.loads(lines[0])
    assert value["next"]
    return result.exit_code, value, ""


def test_every_result_is_one_json_object_with_the_next_command(town, tmp_path):
    node = town.node("telecom")
    new = tmp_path / "bank"
    code, value, _ = said(
        "init", new, "--name", "bank",
        "--table", town.root / "telecom.parquet", "--contract", town.root / "telecom.json",
    )  # fmt: skip
    assert (code, value["name"]) == (0, "bank")
    assert json.loads((new / "bank-request.json").read_text())["name"] == "bank"
    assert said("trust", node, "bank", KEY)[:2][0] == 0
    assert said("inbox", node)[1]["runs"] == []
    town.offer("telecom", town.plan())
    code, value, _ = said("sent", node, "spring")
    assert (code, value["state"], value["releases"]) == (0, "not ended here", [])
    code, value, _ = said("doctor", node)
    assert (code, value["ok"]) == (4, False)


@pytest.mark.parametrize("text", [None, "{", "[]", "{}"])
def test_wrong_file_gives_one_clear_line(town, tmp_path, text):
    path = tmp_path / "given.json"
    if text is not None:
        path.write_text(text)
    node, table = town.node("telecom"), town.root / "telecom.parquet"
    for arguments in (
        ("join", node, path),
        ("init", tmp_path / "new", "--name", "bank", "--table", table, "--contract", path),
    ):
        before = town.files("telecom")
        code, _, error = said(*arguments)
        assert code == 4
        assert "\n" not in error
        assert error
        assert town.files("telecom") == before
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("sent", "autumn"), "never accepted here"),
        (("approve", "autumn"), "not in the inbox"),
        (("refuse", "autumn", "--reason", "no"), "not in the inbox"),
        (("sent", "../keys"), "run: name"),
    ],
)
def test_unknown_run_is_told(town, arguments, says):
    command, run, *rest = arguments
    code, _, error = said(command, town.node("telecom"), run, *rest)
    assert code == 4
    assert says in error


def test_unknown_errors_are_not_swallowed():
    with pytest.raises(ZeroDivisionError):
        explain(ZeroDivisionError("bug"))
