"""The desk in a browser without JavaScript: one field, a light, a slip, and nobody's number."""

import json
import re

import pytest

from clients.desk.journal import CheckJournal
from clients.desk.pages.shelf import KEPT_S
from clients.node.home import Home
from clients.office import node_office
from protocols.identifiers import IdentifierKind
from protocols.lookup.payload import Slot, Status
from protocols.tlog.entry import Entry, Outcome

PHONE, PERSON = IdentifierKind.PHONE, IdentifierKind.TW_PERSON_ID
MOBILE = "0912-345-678"


def ask(browser, text=MOBILE, **fields):
    browser.get("/desk")
    given = {"identifier": text, "kind": "", "purpose": "counter", "case": "C-118"}
    return browser.post("/desk", given | fields)


def shown(browser, answer):
    assert answer.status_code == 303, browser.page
    page = browser.get(answer.headers["location"])
    assert page.status_code == 200
    return browser.page


@pytest.mark.parametrize(("language", "word"), [("en", "RED"), ("zh-TW", "紅燈")])
def test_reported_number_shows_red_with_reasons_and_what_to_do(scene, town, language, word):
    town.publish([(PHONE, MOBILE, {})])
    clerk = scene.signed_in()
    clerk.language = language
    page = shown(clerk, ask(clerk))
    assert f'<h1 id="light">{word}</h1>' in page
    assert "■" in page
    assert ("police: confirmed" if language == "en" else "警察機關：已查證") in page
    assert ("165" if language == "en" else "一六五") in page
    assert re.search(r"<code>D-000001/[0-9a-f]{32}</code>", page)
    assert "C-118" in page
    assert "Dora" in page


def test_unknown_number_shows_green_that_promises_nothing(scene, town):
    town.publish()
    clerk = scene.signed_in()
    page = shown(clerk, ask(clerk))
    assert "GREEN" in page
    assert "keep using your judgement" in page
    assert "safe" not in page.lower()


def test_suspected_victim_is_cared_for_and_unconfirmed_report_asked_about(scene, town, person):
    town.publish([
        (PHONE, MOBILE, {"status": Status.REPORTED}), (PERSON, person(1), {"slot": Slot.VICTIM}),
    ])  # fmt: skip
    clerk = scene.signed_in()
    assert "third party" in shown(clerk, ask(clerk))
    page = shown(clerk, ask(clerk, person(1)))
    assert "please care for them" in page
    assert "no mark against the person" in page


def test_missing_source_shows_grey_and_names_it(scene):
    clerk = scene.signed_in()
    page = shown(clerk, ask(clerk))
    assert "GREY" in page
    assert "source missing: " in page


def test_number_stands_in_no_address_page_journal_or_log(scene, town, capfd, caplog):
    town.publish([(PHONE, MOBILE, {})])
    clerk = scene.signed_in()
    answer = ask(clerk)
    page = shown(clerk, answer)
    digits = re.sub(r"\D", "", MOBILE)
    everything = [page, answer.headers["location"], caplog.text, *capfd.readouterr()]
    everything += [json.dumps([repr(e) for e in CheckJournal.entries(scene.root)])]
    for text in everything:
        assert MOBILE not in text
        assert digits[1:] not in re.sub(r"[\s-]", "", text)


def test_check_is_decided_for_the_clerk_and_entered(scene, town):
    town.publish([(PHONE, MOBILE, {})])
    clerk = scene.signed_in()
    ask(clerk)
    entry = entries(scene)[-1]
    assert (entry.act, entry.outcome, entry.policies) == ("check", Outcome.HIT, ("desk-checks",))
    (check,) = CheckJournal.entries(scene.root)
    assert (check.case, check.purpose, check.channel) == ("C-118", "counter", "console")


def test_loading_the_light_again_asks_nobody_again(scene, town):
    town.publish([(PHONE, MOBILE, {})])
    clerk = scene.signed_in()
    where = ask(clerk).headers["location"]
    for _ in range(3):
        assert "RED" in clerk.get(where).text
    assert len(CheckJournal.entries(scene.root)) == 1
    assert town.used() == 1


def test_light_is_shown_to_the_one_who_asked_and_not_for_ever(scene, town):
    town.publish([(PHONE, MOBILE, {})])
    clerk, other = scene.signed_in(), scene.browser()
    where = ask(clerk).headers["location"]
    assert other.get(where).headers["location"].startswith("/signin")
    assert scene.signed_in("paul").get(where).status_code == 403
    assert scene.signed_in("dan").get(where).status_code == 404
    town.clock.advance(KEPT_S)
    clerk.sign_in("dora")
    assert clerk.get(where).status_code == 404


@pytest.mark.parametrize(
    ("text", "fields", "said"),
    [
        ("", {}, "Type a number."),
        ("A123456788", {}, "check digit"),
        ("A12345678", {}, "check digit"),
        ("0912345", {}, "may be of several kinds"),
        ("091-234567", {"kind": "phone"}, "Not a telephone number"),
        ("12", {"kind": "bank_account"}, "Not a bank account"),
        ("no@where", {"kind": "email"}, "Not an e-mail address"),
        ("名字", {"kind": "line_id"}, "Not a LINE ID"),
        ("02-2345-6789", {"kind": "phone", "case": "02 2345 6789"}, "looks like a person"),
        (MOBILE, {"case": MOBILE}, "looks like a person"),
        ("0922-345-678", {"case": MOBILE}, "looks like a person"),
    ],
)
def test_what_cannot_be_asked_is_told_and_changes_nothing(scene, town, text, fields, said):
    town.publish()
    clerk = scene.signed_in()
    before = len(entries(scene))
    answer = ask(clerk, text, **fields)
    assert answer.status_code == 422
    assert said in answer.text
    given = [text, fields.get("case")] if len(text) > 3 else []
    assert not any(value and f'"{value}"' in answer.text for value in given)
    assert CheckJournal.entries(scene.root) == []
    assert town.used() == 0
    assert len(entries(scene)) == before


def test_case_is_made_where_there_is_none(scene, town):
    town.publish()
    clerk = scene.signed_in()
    page = shown(clerk, ask(clerk, case="  "))
    (check,) = CheckJournal.entries(scene.root)
    assert re.fullmatch(r"W-20[0-9]{6}-[0-9A-F]{6}", check.case)
    assert check.case in page


def test_purpose_stays_for_the_next_customer(scene, town):
    town.publish()
    clerk = scene.signed_in()
    page = shown(clerk, ask(clerk, purpose="call_centre"))
    (following,) = re.findall(r'href="(/desk\?for=[a-z_]+)"', page)
    assert re.search(r'value="call_centre" checked', clerk.get(following).text)


def test_check_at_night_is_refused_and_entered(scene, town):
    town.publish()
    clerk = scene.signed_in()
    town.clock.advance(-8 * 3600)
    clerk.sign_in("dora")
    answer = ask(clerk)
    assert answer.status_code == 403
    assert "do not permit this check" in answer.text
    assert entries(scene)[-1].outcome is Outcome.REFUSED
    assert town.used() == 0


def test_hub_that_is_away_shows_grey_or_says_so(scene, town, monkeypatch):
    town.publish([(PHONE, MOBILE, {})])
    clerk = scene.signed_in()
    assert "RED" in shown(clerk, ask(clerk))
    for holder in ("police", "telecom"):
        town.holders.pop(holder)
    town.parts.evaluations._holders = type(town.parts.evaluations._holders)({})
    assert "GREY" in shown(clerk, ask(clerk, "0922-000-111"))
    assert "RED" in shown(clerk, ask(clerk))  # known here since the first time


def test_program_reads_the_light_as_json(scene, town):
    town.publish([(PHONE, MOBILE, {})])
    clerk = scene.signed_in()
    found = clerk.get(ask(clerk).headers["location"], accept="application/json").json()
    assert (found["light"], found["word"]) == ("red", "RED")
    assert found["receipt"].startswith("D-000001/")


def test_every_page_of_the_desk_is_for_the_desk_alone(scene, town):
    town.publish()
    where = ask(scene.signed_in()).headers["location"]
    pages = [page for page in scene.console.site.pages if page.path.startswith("/desk")]
    assert len(pages) == 2
    for page in pages:
        path = where if "{" in page.path else page.path
        for name in ("anna", "paul", "amy", "otto", None):
            browser = scene.browser() if name is None else scene.signed_in(name)
            for method in page.methods:
                browser.get("/" if name else "/signin")
                answer = browser.get(path) if method == "GET" else browser.post(path, {})
                assert answer.status_code == (403 if name else 303), (path, name, method)
    assert len(CheckJournal.entries(scene.root)) == 1


def entries(scene):
    with node_office(Home(scene.root), clock=scene.town.clock) as office:
        log = office.yearly.log(office.yearly.origin())
        edge = office.storage.edge(log.origin).size
        return [Entry.decode(item) for item in office.storage.entries(log.origin, 0, edge)]
