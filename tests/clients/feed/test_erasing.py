"""A reported person is erased: withdrawn and published first, then out of table and register."""

import os
from dataclasses import replace

import pytest

from clients.rights.reports import ReportRecords
from compliance.rights.case import Identifier, Texts
from compliance.rights.disputes import Ruling
from compliance.rights.errors import StoreWaitsError
from compliance.rights.stores import Subject
from protocols.errors import OutOfTurnError, UnsupportedParameterError
from protocols.identifiers import IdentifierKind, canonicalize
from protocols.lookup.payload import Category, Status

KIND = IdentifierKind.TW_NATIONAL_ID


@pytest.fixture
def person(ids):
    canonical = canonicalize(KIND, ids(1))
    return Subject((canonical,), ("subject/1",))


@pytest.fixture
def texts(person):
    return Texts((Identifier(KIND, person.canonical[0]),))


@pytest.fixture
def reports(town):
    return ReportRecords(town.home, os.urandom, town.clock)


@pytest.fixture
def published(town, given):
    """Two persons are reported and stand in the table at the hub."""
    town.take_in([given(1), given(1, report_id="R1b", category="job"), given(2)])
    town.publish()


def files(town):
    return b"\x00".join(path.read_bytes() for path in town.home.root.rglob("*") if path.is_file())


def test_reports_of_a_person_are_told_in_words(town, published, reports, person):
    found = reports.find(person)
    assert len(found) == 2
    words = {title.en: value for title, value in found[0].facts.items()}
    assert words == {
        "state": "reported", "as": "suspect", "category": "loan", "source": "police",
        "events": "2026-10 - 2026-10",
    }  # fmt: skip


def test_desks_learn_of_the_withdrawal_before_anything_goes(town, published, reports, person, ids):
    with pytest.raises(StoreWaitsError, match="feed publish"):
        reports.erase(person)
    with pytest.raises(StoreWaitsError):
        reports.erase(person)  # again before it is published: nothing more happens
    assert town.payload("tw_national_id", ids(1)).status is Status.REPORTED
    town.publish()
    assert town.payload("tw_national_id", ids(1)).status is Status.WITHDRAWN
    with pytest.raises(StoreWaitsError):
        reports.erase(person)
    assert town.payload("tw_national_id", ids(1)).status is Status.WITHDRAWN
    town.publish()
    assert town.payload("tw_national_id", ids(1)) is None
    assert reports.erase(person) == 2
    assert reports.find(person) == []
    assert town.payload("tw_national_id", ids(2)).status is Status.REPORTED


def test_register_holds_no_way_to_the_person_afterwards(town, published, reports, person, ids):
    register = town.register()
    token = register.key.token(b"identifier", person.canonical[0])
    number = register.key.token(b"number", b"R1")
    sealed = register.database.execute(
        "SELECT sealed FROM identifiers WHERE token = ?", (token,)
    ).fetchone()[0]
    report = register.database.execute("SELECT sealed FROM reports").fetchone()[0]
    assert token in files(town)
    for _ in range(2):
        with pytest.raises(StoreWaitsError):
            reports.erase(person)
        town.publish(register)
    assert reports.erase(person) == 2
    for trace in (token, number, sealed, report, ids(1).encode(), person.canonical[0]):
        assert trace not in files(town)
    assert register.history("R1") == []
    assert not register.has(person.canonical[0])
    assert len(register.history("R2")) == 1


def test_what_was_never_published_goes_at_once(town, given, reports, person):
    town.take_in([given(1)])
    assert reports.erase(person) == 1
    assert reports.find(person) == []
    assert town.publish().count == 0


def test_expired_reports_are_erased_too(town, published, reports, person):
    town.clock.advance(86_400 * 365 * 3)
    register = town.register()
    with register.transaction():
        register.expire(12 * 30, town.actor())
    assert len(reports.find(person)) == 2
    with pytest.raises(StoreWaitsError):
        reports.erase(person)


@pytest.mark.usefixtures("published")
def test_later_publications_work_after_an_erasure(town, reports, person, given, ids):
    for _ in range(2):
        with pytest.raises(StoreWaitsError):
            reports.erase(person)
        town.publish()
    reports.erase(person)
    town.take_in([given(3), given(1, report_id="R9")])
    assert town.publish().count == 3
    assert town.payload("tw_national_id", ids(1)).status is Status.REPORTED
    town.begin(6)
    assert town.publish().count == 3


def test_ruling_withdraws_every_standing_report_and_again_none(town, published, reports, texts):
    assert reports.rule(Ruling.WITHDRAWN, texts) == 2
    assert reports.rule(Ruling.WITHDRAWN, texts) == 0
    town.publish()


def test_ruling_that_upholds_changes_nothing(town, published, reports, texts, person):
    before = reports.find(person)
    assert reports.rule(Ruling.UPHELD, texts) == 0
    assert reports.find(person) == before


@pytest.mark.usefixtures("published")
def test_ruling_corrects_what_the_file_says(town, reports, texts, *, given, as_csv, tmp_path, ids):
    file = tmp_path / "right.csv"
    file.write_text(as_csv([given(1, category="romance"), given(1, report_id="R1b")]))
    assert reports.rule(Ruling.CORRECTED, texts, corrections=file) == 2
    town.publish()
    found = town.payload("tw_national_id", ids(1))
    assert found.category in {Category.ROMANCE, Category.LOAN}
    assert reports.rule(Ruling.CORRECTED, texts, corrections=file) == 0


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("row", "error"),
    [
        ({"number": 2}, UnsupportedParameterError),  # about somebody else
        ({"number": 1, "report_id": "R77"}, OutOfTurnError),  # a new report
        ({"number": 1, "category": "nothing"}, UnsupportedParameterError),
    ],
)
def test_correction_that_goes_further_changes_nothing(
    reports, texts, given, *, as_csv, tmp_path, row, error
):
    file = tmp_path / "wrong.csv"
    wrong = given(row["number"], **{name: row[name] for name in row if name != "number"})
    file.write_text(as_csv([given(1, category="romance"), wrong]))
    before = reports.find(Subject((texts.identifiers[0].canonical,), ("",)))
    with pytest.raises(error):
        reports.rule(Ruling.CORRECTED, texts, corrections=file)
    assert reports.find(Subject((texts.identifiers[0].canonical,), ("",))) == before


def test_file_stands_with_a_correction_alone(town, published, reports, texts, tmp_path):
    for ruling, file in [(Ruling.CORRECTED, None), (Ruling.WITHDRAWN, tmp_path / "x.csv")]:
        with pytest.raises(UnsupportedParameterError, match="corrections"):
            reports.rule(ruling, texts, corrections=file)


def test_several_identifiers_of_one_person_go_together(town, published, reports, person, ids):
    both = replace(person, canonical=(*person.canonical, canonicalize(KIND, ids(2))))
    for _ in range(2):
        with pytest.raises(StoreWaitsError):
            reports.erase(both)
        town.publish()
    assert reports.erase(both) == 3
