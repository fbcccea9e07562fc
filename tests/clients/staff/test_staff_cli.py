"""`lianfang staff` as people use it: set-up, four eyes by consent, emergencies, passwords."""

import json
import os
import pty
import select
import subprocess
import sys
import time

import pytest
from typer.main import get_command

from clients.acting import acting
from clients.node.home import Home
from clients.office import node_office
from clients.staff.cli import app
from compliance.commands.acting import AS, PASSWORDS, SECOND
from compliance.commands.output import EXIT_CONFIG, EXIT_REFUSED
from protocols.tlog.entry import Entry

BY_TWO = ("--as", "amy", "--second", "otto")


def entries(node):
    with node_office(Home(node.root)) as office:
        origin = office.yearly.origin()
        size = office.storage.edge(origin).size
        return [Entry.decode(data) for data in office.storage.entries(origin, 0, size)]


def test_set_up_then_a_third_account_by_two(manned):
    assert "--as" in manned.add("dora", "desk", code=EXIT_REFUSED)
    value = manned.add("dora", "desk", "analyst", more=BY_TWO)
    assert (value["account"], value["roles"]) == ("dora", ["analyst", "desk"])
    listed = manned.run("list")["accounts"]
    assert [item["account"] for item in listed] == ["amy", "dora", "otto"]
    assert "password" not in json.dumps(listed)
    ways = [(entry.act, entry.policies, entry.outcome.value) for entry in entries(manned)]
    assert ways == [
        ("grant_role", ("staff.set-up",), "done"),
        ("grant_role", ("staff.set-up",), "done"),
        ("grant_role", ("error.request",), "refused"),
        ("grant_role", ("approvers-commit",), "done"),
    ]


def test_four_eyes_by_a_consent(manned):
    more = ("--as", "amy")
    said = manned.add("dora", "desk", code=EXIT_REFUSED, more=more)
    assert f"lianfang staff agree {manned.root} 1 --as NAME" in said
    (request,) = manned.run("waiting")["requests"]
    assert request["what"] == "add the account dora as desk"
    assert "asked for" in manned.run("agree", 1, "--as", "amy", "--yes", code=EXIT_REFUSED)
    assert manned.run("agree", 1, "--as", "otto", "--yes")["stage"] == "agreed"
    assert manned.add("dora", "desk", more=more)["account"] == "dora"
    assert manned.run("waiting")["requests"] == []


def test_a_request_is_declined(manned):
    manned.add("dora", "desk", code=EXIT_REFUSED, more=("--as", "amy"))
    value = manned.run("decline", 1, "--reason", "no post is free", "--as", "otto")
    assert value["stage"] == "declined"
    said = manned.add("dora", "desk", code=EXIT_REFUSED, more=("--as", "amy"))
    assert "no post is free" in said


def test_roles_change_and_accounts_are_suspended(manned):
    manned.add("dora", "desk", more=BY_TWO)
    value = manned.run("grant", "dora", "--role", "analyst", "--reason", "moves", *BY_TWO)
    assert value["roles"] == ["analyst"]
    value = manned.run("suspend", "dora", "--reason", "left", *BY_TWO)
    assert value["state"] == "suspended"
    assert "not accepted" in manned.run("agree", 1, "--as", "dora", code=EXIT_REFUSED)
    value = manned.run("suspend", "dora", "--lift", "--reason", "is back", *BY_TWO)
    assert value["state"] == "active"
    said = manned.run("suspend", "otto", "--reason", "left", *BY_TWO, code=EXIT_REFUSED)
    assert "no approver with a second person" in said
    assert "role" in manned.run("grant", "dora", "--role", "king", *BY_TWO, code=EXIT_CONFIG)
    assert "say-why" in manned.run("grant", "dora", "--role", "desk", *BY_TWO, code=EXIT_REFUSED)


def test_passwords_are_changed_and_reset(manned, tmp_path):
    fresh = tmp_path / "fresh"
    fresh.write_text("quite another secret\n")
    fresh.chmod(0o600)
    more = ("--password-file", fresh)
    manned.run("password", "--as", "amy", *more)
    assert "not accepted" in manned.run("password", "--as", "amy", *more, code=EXIT_REFUSED)
    manned.password("amy", "quite another secret")
    manned.run("password", "otto", "--reason", "forgot", "--as", "amy", *more, code=EXIT_REFUSED)
    manned.add("ben", "approver", more=BY_TWO)
    manned.run(
        "password", "otto", "--reason", "forgot", "--as", "amy", "--second", "ben", *more
    )  # fmt: skip
    manned.password("otto", "quite another secret")
    assert manned.run("password", "--as", "otto", *more)["account"] == "otto"


def test_an_emergency_from_declaration_to_review(manned, monkeypatch):
    manned.add("dora", "desk", more=BY_TWO)
    why = ("--case", "case-7", "--reason", "a victim is on the telephone")
    assert manned.run("emergency", *why, "--as", "dora")["lasts"] is True
    (found,) = manned.run("waiting")["emergencies"]
    assert (found["account"], found["overdue"]) == ("dora", False)
    read = manned.run("review", 1, "--as", "otto")
    assert (read["case"], read["reason"]) == ("case-7", "a victim is on the telephone")
    assert manned.run("review", 1, "--as", "dora", code=EXIT_REFUSED)
    closed = manned.run("review", 1, "--finding", "right", "--as", "otto", "--second", "amy")
    assert closed["reviewed"]
    assert manned.run("waiting")["emergencies"] == []
    with node_office(Home(manned.root)) as office:
        monkeypatch.setenv(PASSWORDS, str(manned.passwords))
        assert not acting(manned.root, office, name="dora").facts(office).glass_broken


def test_the_environment_says_who_acts(manned, monkeypatch):
    monkeypatch.setenv(PASSWORDS, str(manned.passwords))
    monkeypatch.setenv(AS, "amy")
    monkeypatch.setenv(SECOND, "otto")
    with node_office(Home(manned.root)) as office:
        who = acting(manned.root, office)
        assert (who.account, who.second_account) == ("amy", "otto")
        assert acting(manned.root, office, name="otto", second="amy").account == "otto"
        monkeypatch.delenv(AS)
        monkeypatch.delenv(SECOND)
        assert acting(manned.root, office).by == office.own


def test_no_option_takes_a_password():
    commands = get_command(app).commands.values()
    options = {name for command in commands for item in command.params for name in item.opts}
    assert {name for name in options if "pass" in name} == {"--password-file"}


def test_a_password_file_that_others_may_read_is_refused(node):
    node.password("amy").chmod(0o644)
    words = ("--role", "approver", "--display", "Amy", "--reason", "set-up")
    file = ("--password-file", node.passwords / "amy")
    assert "chmod 600" in node.run("add", "amy", *words, *file, code=EXIT_CONFIG)
    assert node.run("list")["accounts"] == []


@pytest.mark.parametrize("text", [b"", b"\n", b"two\nlines", b"\xff" * 20, b"x" * 5000], ids=repr)
def test_a_file_that_holds_no_password_is_refused(node, text):
    file = node.password("amy")
    file.write_bytes(text)
    words = ("--role", "approver", "--display", "Amy", "--reason", "set-up")
    node.run("add", "amy", *words, "--password-file", file, code=EXIT_CONFIG)


def test_without_a_terminal_and_a_file_the_cure_is_told(node):
    node.environment = {}
    words = ("--role", "approver", "--display", "Amy", "--reason", "set-up")
    assert "--password-file" in node.run("add", "amy", *words, code=EXIT_CONFIG)


def test_a_directory_that_is_no_node_stays_as_it_is(node, tmp_path):
    (tmp_path / "other").mkdir()
    node.root = tmp_path / "other"
    node.run("list", code=EXIT_CONFIG)
    node.add("amy", "approver", code=EXIT_CONFIG)
    assert list((tmp_path / "other").iterdir()) == []


def test_a_terminal_is_asked_and_shows_nothing(node):
    code = (
        "import sys; from clients.staff.cli import app; "
        "app(['add', sys.argv[1], 'amy', '--display', 'Amy', '--role', 'approver', "
        "'--reason', 'set-up'])"
    )
    environment = {name: value for name, value in os.environ.items() if name != PASSWORDS}
    terminal, inner = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(node.root)],
        stdin=inner, stdout=inner, stderr=inner, start_new_session=True, env=environment,
    )  # fmt: skip
    os.close(inner)
    shown = _converse(terminal, [b"typed by hand 77\n", b"typed by hand 77\n"])
    assert child.wait(60) == 0, shown
    assert b"typed by hand" not in shown
    node.password("amy", "typed by hand 77")
    node.add("otto", "compliance")
    assert node.run("emergency", "--case", "x", "--reason", "x", "--as", "amy", code=EXIT_REFUSED)


def _converse(terminal, answers):
    """Give an answer at every prompt; returns all that the terminal showed."""
    shown, waiting, end = b"", list(answers), time.monotonic() + 60
    while time.monotonic() < end:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            data = os.read(terminal, 4096)
        except OSError:
            break
        if not data:
            break
        shown += data
        if waiting and data.rstrip().endswith(b":"):
            time.sleep(0.1)
            os.write(terminal, waiting.pop(0))
    os.close(terminal)
    return shown
