"""The desk's commands, as a clerk, an operator and an auditor type them."""

import json

import polars as pl
import pytest
from typer.testing import CliRunner

from clients.desk.cli import app
from clients.lookup.secrets import CACHE_KEY
from compliance.errors import NotPermittedError
from compliance.evaluations.evidence import evidence_of
from protocols.errors import UnsupportedParameterError
from protocols.identifiers import IdentifierKind
from protocols.lookup.payload import Slot, Status

PERSON, PHONE = IdentifierKind.TW_PERSON_ID, IdentifierKind.PHONE


def run(*arguments, given="", code=0):
    found = CliRunner().invoke(app, [str(item) for item in arguments], input=given)
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    assert found.exit_code == code, found.output
    return found.stdout


def as_json(*arguments, given="", code=0):
    return json.loads(run(*arguments, "--format", "json", given=given, code=code))


@pytest.fixture
def directory(town, person):
    town.publish([(PHONE, "0912345678", {}), (PERSON, person(3), {"slot": Slot.VICTIM})])
    town.publish(contributor="telecom")
    return town.home().root


def test_check_tells_colour_shape_reason_reminder_and_receipt(directory, town):
    said = run("check", directory, "--kind", "phone", "--case", "C-1", "--lang", "en",
               given="0912-345-678\n")  # fmt: skip
    assert "■ RED" in said
    assert "police: confirmed; mule account" in said
    assert "let the person explain" in said
    assert "Receipt D-000001/" in said
    assert "0912" not in said
    said = run("check", directory, "--kind", "phone", "--case", "C-1", "--lang", "zh",
               given="0912345678\n")  # fmt: skip
    assert "■ 紅燈" in said
    assert "查詢編號 D-000002" in said
    assert town.used() == 1


def test_check_reads_several_kinds_from_lines(directory, person):
    found = as_json("check", directory, "--stdin", "--case", "C-1", "--purpose", "call_centre",
                    given=f"tw_person_id,{person(3)}\n\nphone,0987654321\n")  # fmt: skip
    assert found["light"] == "yellow"
    assert [reason["code"] for reason in found["reasons"]] == ["care:police:mule_account"]
    assert {source["freshness"] for source in found["sources"]} == {"fresh"}
    assert len(found["reasons"]) <= 3


def test_check_refuses_lines_by_number_and_never_repeats_them(directory):
    for given, text in (("0912345678\n", "line 1"), ("shoe,0912345678\n", "kind"), ("", "no ide")):
        with pytest.raises(UnsupportedParameterError, match=text) as error:
            run("check", directory, "--stdin", "--case", "C-1", given=given)
        assert "0912345678" not in str(error.value)


def test_check_without_a_case_is_refused(directory, town):
    run("check", directory, "--kind", "phone", given="0912345678\n", code=2)
    with pytest.raises(NotPermittedError):
        run("check", directory, "--kind", "phone", "--case", "", given="0912345678\n")
    assert town.used() == 0


def test_thin_check_finds_the_same(directory):
    found = as_json("check", directory, "--thin", "--kind", "phone", "--case", "C-1",
                    given="0912345678\n")  # fmt: skip
    assert found["light"] == "red"


@pytest.fixture
def customers(tmp_path):
    path = tmp_path / "customers.csv"
    pl.DataFrame({"tel": ["0912345678", "0987654321", "none"]}).write_csv(path)
    return path


def test_screen_shows_the_cost_and_waits_for_consent(directory, customers, tmp_path, town):
    out = tmp_path / "result.parquet"
    command = ("screen", directory, customers, "--column", "tel", "--kind", "phone", "--out", out)
    run(*command, given="n\n", code=1)
    assert town.used() == 0
    assert not out.exists()
    said = run(*command, given="y\n")
    assert "2 evaluations" in said
    assert pl.read_parquet(out)["light"].to_list() == ["red", "green", None]
    again = as_json(*command, "--yes")
    assert (again["evaluated"], again["changes"]) == (0, [])
    assert again["preview"]["malformed"] == 1
    assert again["lights"] == {"green": 1, "red": 1, "malformed": 1, "shared": 0}


def test_changes_are_told_after_a_new_table(directory, customers, tmp_path, town):
    out = tmp_path / "result.parquet"
    command = ("screen", directory, customers, "--column", "tel", "--kind", "phone", "--out", out)
    run(*command, "--yes")
    town.publish([(PHONE, "0987654321", {"status": Status.REPORTED})])
    synced = as_json("sync", directory)
    assert {"contributor": "police", "before": 1, "version": 2, "records": 3} in synced["tables"]
    said = run(*command)
    assert "green -> yellow: 1" in said


def test_status_tells_tables_cache_quota_and_alarms(directory, person, town):
    run("check", directory, "--kind", "phone", "--case", "C-1", given="0912345678\n")
    town.publish([(PERSON, person(9), {"canary": True})])
    run("sync", directory)
    run("check", directory, "--kind", "tw_person_id", "--case", "C-2", given=person(9))
    said = run("status", directory)
    assert "police           fresh (required): version 2, 3 records, 0 h old" in said
    assert "2 customers evaluated in this epoch" in said
    assert "Quota: 99,998 of 100,000 left" in said
    assert "ALARMS: 1" in said
    assert "canary of police" in said
    assert as_json("status", directory)["alarms"] == 1


def test_lights_are_explained_in_both_languages():
    said = run("light")
    assert "● GREEN  no match found, keep using your judgement" in said
    assert "● 綠燈  查無通報，請續依專業判斷" in said
    assert len(as_json("light")["lights"]) == 4


def test_audit_from_book_to_verdict(directory, tmp_path, person, town, staffed):
    run("check", directory, "--kind", "phone", "--case", "C-1", given="0912345678\n")
    run("check", directory, "--kind", "tw_person_id", "--case", "C-2", given=person(1))
    names = ("evidence.json", "sample.json", "openings.json", "cases.csv")
    evidence, sample, openings, cases = (tmp_path / name for name in names)
    book = evidence_of("police", "insurer", town.manifest.epoch, town.entries("hub"))
    evidence.write_bytes(book.format())
    drawn = as_json("sample", "--evidence", evidence, "--seed", "2026", "--size", 20, "--out",
                    sample)  # fmt: skip
    assert drawn["drawn"] == 2
    staffed(directory)
    opening = ("--sample", sample, "--out", openings, "--case", "A-1", "--reason", "yearly audit")
    assert as_json("open", directory, *opening)["opened"] == 2
    assert openings.stat().st_mode & 0o077 == 0
    cases.write_text(f"case,kind,value\nC-1,phone,0912345678\nC-2,tw_person_id,{person(1)}\n")
    papers = ("--evidence", evidence, "--sample", sample, "--openings", openings, "--cases", cases)
    assert as_json("audit", *papers)["clean"]
    cases.write_text("case,kind,value\nC-1,phone,0912345678\n")
    found = as_json("audit", *papers, code=3)
    assert len(found["faults"]) == 1
    assert person(1) not in json.dumps(found)


def test_keys_stay_private_and_are_asked_for(directory):
    run("check", directory, "--kind", "phone", "--case", "C-1", given="0912345678\n")
    key = directory / "keys" / CACHE_KEY
    assert key.stat().st_mode & 0o077 == 0
    key.chmod(0o644)
    with pytest.raises(Exception, match="chmod 600"):
        run("check", directory, "--kind", "phone", "--case", "C-1", given="0912345678\n")
