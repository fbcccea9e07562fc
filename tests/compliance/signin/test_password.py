"""Signing in by password through the pages: one answer, one kind of entry, growing waits."""

import statistics
import time

import pytest

from compliance.log.errors import StorageError
from compliance.office.replaying import replay_log
from compliance.staff.accounts import State
from compliance.staff.attempts import FIRST_WAIT_S, FREE, FREE_OF_SOURCE
from compliance.staff.passwords import Cost, PasswordHash

WRONG = "not the right password"
FEW = 8


def few(scene):
    """A source that has less patience: fifty attempts would only take longer."""
    assert scene.door.sources._free == FREE_OF_SOURCE == 50
    scene.door.sources._free = FEW


def test_a_password_opens_the_account(scene):
    browser = scene.signed_in("amy")
    page = browser.get("/")
    assert page.status_code == 200
    assert "Hello, Amy" in page.text
    assert scene.told() == [("sign_in", "done", "staff/password", "staff.sign-in")]
    (entry,) = scene.entries()
    assert scene.part(entry).subject == "account amy"
    assert b"amy" not in entry.encode()


def test_an_auditor_who_decides_everything_again_is_told_the_rule(scene):
    scene.browser().sign_in("amy", WRONG)
    scene.signed_in("amy")
    origin = scene.office.yearly.origin()
    again = list(replay_log(scene.office, scene.office.document, origin=origin))
    assert [item.differences for item in again] == [(), ()]
    assert [item.missing for item in again][1].endswith("how staff sign in")


def test_every_refusal_says_the_same(scene):
    scene.change("dora", state=State.SUSPENDED)
    said = set()
    for name, password in (
        ("amy", WRONG), ("nobody", WRONG), ("dora", None), ("no name!", WRONG), ("", ""),
    ):  # fmt: skip
        browser = scene.browser()
        answer = browser.sign_in(name, password)
        assert answer.status_code == 422
        assert not [cookie for cookie in browser.cookies if "session" in cookie]
        said.add(answer.text.replace(browser.token, ""))
    assert len(said) == 1


def test_failures_are_entered_without_what_was_typed(scene):
    scene.browser().sign_in("amy", WRONG)
    scene.browser().sign_in("a-password-in-the-wrong-field", WRONG)
    assert scene.told() == [("sign_in", "refused", "staff/password", "signin.credentials")] * 2
    known, unknown = scene.entries()
    assert known.actor == scene.office.person("amy", ()).pseudonym
    assert scene.part(known).subject == "account amy"
    assert scene.part(unknown).subject == ""
    assert "wrong-field" not in scene.part(unknown).decision


def test_lock_is_that_of_the_command_line_and_is_entered(scene):
    for _ in range(FREE):
        scene.browser().sign_in("amy", WRONG)
    assert scene.told()[-1][-1] == "signin.shut"
    assert scene.browser().sign_in("amy").status_code == 422
    assert scene.staff.attempts.shut_until("amy") > scene.clock.now()
    scene.clock.advance(FIRST_WAIT_S)
    scene.signed_in("amy")


def test_a_source_is_shut_after_many_failures_whatever_the_accounts(scene):
    few(scene)
    for number in range(FEW):
        answer = scene.browser().sign_in(f"guess-{number}", WRONG)
        assert answer.status_code == 422
    assert scene.told()[-1] == ("sign_in", "refused", "staff/source", "signin.source_shut")
    count = len(scene.entries())
    shut = scene.browser().sign_in("amy")
    assert (shut.status_code, shut.headers["retry-after"]) == (429, str(FIRST_WAIT_S))
    assert len(scene.entries()) == count, "nothing is written for what is not looked at"
    scene.signed_in("amy", address="203.0.113.8")


def test_one_success_does_not_open_a_source_for_guessing(scene):
    few(scene)
    for number in range(FEW - 1):
        scene.browser().sign_in(f"guess-{number}", WRONG)
    scene.signed_in("amy")
    assert scene.browser().sign_in("guess", WRONG).status_code == 422
    assert scene.browser().sign_in("amy").status_code == 429


def test_an_old_source_is_forgotten(scene):
    few(scene)
    for number in range(FEW - 1):
        scene.browser().sign_in(f"guess-{number}", WRONG)
    scene.clock.advance(2 * 3600)
    for number in range(FEW - 1):
        assert scene.browser().sign_in(f"guess-{number}", WRONG).status_code == 422


def test_unknown_accounts_take_as_long_as_known_ones(make_scene):
    # One hash costs some 20 ms: an answer without it, or without its entry, would be quicker.
    scene = make_scene()
    cost = Cost(16_384, 2, 1)
    scene.staff._cost = cost
    scene.staff._nobody = PasswordHash.of_nobody(cost)
    kept = PasswordHash.of("a password that nobody types", cost, lambda size: b"s" * size)
    for name in ("amy", "otto"):
        scene.change(name, password=kept)
    for _ in range(FREE):
        scene.browser().sign_in("otto", WRONG)  # is shut
    seconds = {"amy": [], "otto": [], "nobody": [], "no name!": []}
    browsers = {name: scene.browser() for name in seconds}
    for browser in browsers.values():
        browser.get("/signin")
    for _ in range(9):
        scene.staff.attempts.clear("amy")
        for name, found in seconds.items():
            before = time.process_time()
            browsers[name].post("/signin", {"account": name, "password": WRONG, "next": "/"})
            found.append(time.process_time() - before)
    typical = [statistics.median(found) for found in seconds.values()]
    assert max(typical) < 1.5 * min(typical), seconds


def test_sign_in_makes_a_new_secret(scene):
    browser = scene.browser()
    browser.get("/signin")
    (before,) = browser.cookies.values()
    browser.sign_in("amy")
    (after,) = browser.cookies.values()
    assert before != after
    browser.sign_in("otto")
    assert browser.get("/account").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example", "https://evil.example/", "/\\evil.example", "/nowhere", "/signout",
        "javascript:alert(1)", "/%0d%0aX: y",
    ],
)  # fmt: skip
def test_nobody_is_led_away_after_signing_in(scene, path):
    assert scene.browser().sign_in("amy", next=path).headers["location"] == "/"


def test_a_page_that_was_asked_for_comes_after_signing_in(scene):
    browser = scene.browser()
    sent = browser.get("/people?page=2")
    assert sent.headers["location"] == "/signin?next=%2Fpeople%3Fpage%3D2"
    browser.get(sent.headers["location"])
    fields = {"account": "amy", "password": "a long enough secret of amy", "next": "/people?page=2"}
    assert browser.post("/signin", fields).headers["location"] == "/people?page=2"


def test_no_session_without_an_entry(scene, monkeypatch):
    def full(*_, **__):
        raise StorageError("log: no space")

    monkeypatch.setattr(scene.office.yearly, "append", full)
    browser = scene.browser()
    assert browser.sign_in("amy").status_code == 503
    assert not [cookie for cookie in browser.cookies if "session" in cookie]
    assert scene.door.store.sessions("amy") == []
