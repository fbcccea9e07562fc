"""The commands on persons' rights, as officers of an insurer and of the police type them."""

import json
import os
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clients.desk.desk import Desk
from clients.feed.home import FeedHome
from clients.feed.register import Actor
from clients.feed.reports import Report
from clients.node.home import Home
from clients.rights.cli import app
from clients.rights.counter import read_holidays
from clients.rights.stores import stores_of
from compliance.clock import SystemClock
from compliance.configuration import ConfigError
from compliance.errors import NotPermittedError
from compliance.rights.errors import CaseErasedError, LegalHoldError
from compliance.rights.stores import Subject
from compliance.staff.passwords import Cost
from protocols.errors import InvalidProofError, OutOfTurnError, UnsupportedParameterError
from protocols.identifiers import IdentifierKind, InvalidIdentifierError, canonicalize
from protocols.lookup.payload import Category, Slot, SourceClass, Status, Use
from protocols.lookup.request import Purpose

PHONE = IdentifierKind.PHONE
NUMBER = "0912345678"
GIVEN = "phone,0912-345-678\ncontact,1 Example Road\nwish,erase me please\n"


def run(*arguments, given="", code=0):
    found = CliRunner().invoke(app, [str(item) for item in arguments], input=given)
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    assert found.exit_code == code, found.output
    return found.stdout


def as_json(*arguments, given="", code=0):
    return json.loads(run(*arguments, "--format", "json", given=given, code=code))


def working(directory, kind, given=GIVEN):
    """Open a request and take it into work; returns its number."""
    number = as_json("open", directory, kind, "--stdin", given=given)["number"]
    run("verify-identity", directory, number, "--reason", "passport at the counter")
    run("start", directory, number)
    return number


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch):
    """Passwords are verified some dozens of times here; what that costs is tested elsewhere."""
    monkeypatch.setattr("compliance.staff.staff.DEFAULT_COST", Cost(64, 1, 1))


@pytest.fixture
def insurer(town, staffed):
    """An insurer's node with staff, whose desk has looked a person up."""
    town.publish([(PHONE, NUMBER, {})])
    town.publish(contributor="telecom")
    root = town.home().root
    with Desk(root, clock=town.clock) as desk:
        desk.check([(PHONE, NUMBER)], purpose=Purpose.COUNTER, case="C-1")
    (root,) = staffed(root)
    return root


@pytest.fixture
def police(town, staffed):
    """A police node with staff and one report of the person."""
    home = town.home("police")
    register = FeedHome(home).register()
    month = 12 * 26
    with register.transaction():
        report = Report(
            "R1", canonicalize(PHONE, NUMBER), Slot.SUSPECT, Category.LOAN, SourceClass.POLICE,
            None, month, month, Use.COUNTER,
        )  # fmt: skip
        register.enter(report, month + 24, Actor("analyst", town.clock.now()))
    register.close()
    (root,) = staffed(home.root)
    return root


def test_person_is_erased_by_commands_and_the_certificate_verifies(insurer, town):
    number = working(insurer, "erasure")
    said = run("erase", insurer, number, "--reason", "the person asked", "--yes")
    assert "Certificate E-" in said
    shown = as_json("show", insurer, number)
    assert (shown["state"], shown["answer"]) == ("answered", "granted")
    path = insurer / "rights" / "certificates" / f"{shown['certificate']}.json"
    assert "holds" in run("certificate", insurer, path)
    found = as_json("certificate", town.home("telecom").root, path)
    assert {item["store"]: item["count"] for item in found["erased"]} == {
        "desk/cache": 1, "desk/queries": 1, "desk/screening": 0, "desk/window": 1,
        "log/private-parts": 4, "rights/requests": 0,
    }  # fmt: skip
    run("close", insurer, number)
    ours = Subject((canonicalize(PHONE, NUMBER),), ())
    for store in stores_of(town.home(), os.urandom, clock=SystemClock()):
        assert store.find(ours) == []
    data = b"\x00".join(item.read_bytes() for item in insurer.rglob("*") if item.is_file())
    for trace in (b"912345678", b"912-345-678", b"Example Road", ours.canonical[0]):
        assert trace not in data
    with pytest.raises(CaseErasedError):
        run("show", insurer, number, "--person")


def test_altered_certificate_is_refused(insurer, tmp_path):
    number = working(insurer, "erasure")
    path = as_json("erase", insurer, number, "--reason", "asked", "--yes")["file"]
    forged, text = tmp_path / "forged.json", Path(path).read_text(encoding="utf-8")
    forged.write_text(text.replace('"count":1', '"count":2', 1))
    with pytest.raises(InvalidProofError):
        run("certificate", insurer, forged)


def test_hold_stops_the_erasure_until_it_is_released(insurer):
    number = working(insurer, "erasure")
    hold = as_json(
        "hold", insurer, "--stdin", "--office", "legal", "--until", "2028-12-31",
        "--reason", "proceedings", given="phone,0912345678\n",
    )["holds"][0]  # fmt: skip
    with pytest.raises(LegalHoldError, match="proceedings"):
        run("erase", insurer, number, "--reason", "asked", "--yes")
    assert hold["number"] in run("holds", insurer)
    run("release", insurer, hold["number"], "--reason", "settled")
    assert "(ended)" in run("holds", insurer)
    run("erase", insurer, number, "--reason", "asked", "--yes")


def test_erasure_without_a_second_person_waits_for_one(insurer, monkeypatch):
    number = working(insurer, "erasure")
    monkeypatch.setenv("LIANFANG_SECOND", "")
    with pytest.raises(NotPermittedError, match="staff agree"):
        run("erase", insurer, number, "--reason", "asked", "--yes")


def test_program_answers_nobody(insurer, monkeypatch):
    monkeypatch.setenv("LIANFANG_AS", "")
    monkeypatch.setenv("LIANFANG_SECOND", "")
    with pytest.raises(NotPermittedError):
        run("open", insurer, "access", "--stdin", given=GIVEN)
    assert run("list", insurer).startswith("None.")


def test_account_goes_to_a_file_outside_of_the_node(insurer, tmp_path):
    number = working(insurer, "access")
    out = tmp_path / "account.md"
    with pytest.raises(ConfigError, match="node's directory"):
        run("access", insurer, number, "--out", insurer / "a.md", "--reason", "asked")
    found = as_json("access", insurer, number, "--out", out, "--reason", "asked",
                    "--withhold", "desk/cache=third_party")  # fmt: skip
    assert found["found"]["desk/queries"] == 1
    assert found["withheld"] == ["desk/cache"]
    text = out.read_text()
    assert "C-1" in text
    assert "對您資料之處理與利用" in text
    assert "PDPA Art. 10 (3)" in text
    assert out.stat().st_mode & 0o077 == 0
    run("answer", insurer, number, "partly", "--code", "third_party")
    run("close", insurer, number)


def test_identifier_is_on_no_command_line_and_in_no_message(insurer):
    with pytest.raises(InvalidIdentifierError) as caught:
        run("open", insurer, "access", "--stdin", given="phone,0912\n")
    assert "0912" not in str(caught.value)
    with pytest.raises(UnsupportedParameterError, match="line 2"):
        run("open", insurer, "access", "--stdin", given="phone,0912345678\nsomething\n")
    said = run("open", insurer, "access", "--identifier", "phone", given="0912345678\n")
    assert "0912" not in said


def test_list_shows_what_is_overdue_and_ends_with_3(insurer, monkeypatch):
    number = working(insurer, "access")
    assert run("list", insurer, "--overdue").startswith("None.")
    assert number in run("list", insurer)
    (insurer / "rights" / "holidays.json").write_text('{"days": ["2026-10-10"]}')
    assert read_holidays(insurer) == {date(2026, 10, 10)}
    due = as_json("list", insurer)["requests"][0]["due_at"]
    monkeypatch.setattr("time.time", lambda: 4_000_000_000.0)
    late = as_json("list", insurer, "--overdue", code=3)["requests"]
    assert [item["due_at"] for item in late] == [due]
    assert "OVERDUE" in run("list", insurer, "--lang", "zh")


def test_extension_and_refusal_are_shown_with_their_article(insurer):
    number = working(insurer, "correction")
    run("extend", insurer, number, "--reason", "the branch must look it up")
    found = as_json("show", insurer, number, "--person")
    assert found["wish"] == "erase me please"
    assert found["state"] == "extended"
    assert "PDPA Art. 3, 11 I" in run("show", insurer, number)
    run("answer", insurer, number, "refused", "--code", "data_is_right")
    with pytest.raises(OutOfTurnError):
        run("answer", insurer, number, "granted")


def test_holidays_that_are_none_are_told(insurer):
    (insurer / "rights").mkdir(exist_ok=True)
    (insurer / "rights" / "holidays.json").write_text('{"days": ["tomorrow"]}')
    with pytest.raises(ConfigError, match="holidays"):
        run("list", insurer)


@pytest.mark.parametrize(
    ("ruling", "code", "status", "answer"),
    [
        ("withdrawn", "", Status.WITHDRAWN, "granted"),
        ("upheld", "data_is_right", Status.REPORTED, "refused"),
    ],
)
def test_dispute_travels_in_letters_and_ends_in_the_register(
    insurer, police, tmp_path, *, ruling, code, status, answer
):
    there, back = tmp_path / "there.letter", tmp_path / "back.letter"
    ours = working(insurer, "dispute")
    run("dispute", "forward", insurer, ours, "--to", "police", "--out", there)
    assert b"912345678" not in there.read_bytes()
    with pytest.raises(InvalidProofError):
        run("dispute", "receive", insurer, there)
    theirs = as_json("dispute", "receive", police, there)["number"]
    assert not there.exists()
    run("verify-identity", police, theirs, "--reason", "shown to the insurer")
    run("start", police, theirs)
    code = ["--code", code] if code else []
    said = run("dispute", "settle", police, theirs, ruling, "--reason", "examined", *code)
    assert ("feed publish" in said) is (ruling == "withdrawn")
    run("dispute", "reply", police, theirs, "--out", back)
    found = as_json("dispute", "note", insurer, back)
    assert (found["number"], found["state"], found["answer"]) == (ours, "answered", answer)
    register = FeedHome(Home(police)).register()
    try:
        ((_, state, _),) = register.reports_about(canonicalize(PHONE, NUMBER))
    finally:
        register.close()
    assert state is status


def test_dispute_goes_to_pinned_peers_only(insurer, tmp_path):
    ours = working(insurer, "dispute")
    for name in ("nobody", "insurer"):
        with pytest.raises(ConfigError, match="pinned"):
            run("dispute", "forward", insurer, ours, "--to", name, "--out", tmp_path / "x")
    with pytest.raises(ConfigError, match="no reports"):
        run("dispute", "settle", insurer, ours, "withdrawn", "--reason", "x")
