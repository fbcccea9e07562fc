"""Sessions: how they end, what is kept of them, and who may use one."""

import base64
import sqlite3

import pytest

from compliance.log.errors import StorageError
from compliance.policy.actors import StaffRole
from compliance.signin.sessions import MOST_EACH, Limits
from compliance.signin.store import SqliteSignIns
from compliance.staff.accounts import State
from compliance.staff.passwords import PasswordHash

LIMITS = Limits()


def is_in(browser):
    answer = browser.get("/account")
    if answer.status_code == 200:
        return True
    assert answer.headers["location"].startswith("/signin")
    return False


def test_a_session_ends_without_use(scene):
    browser = scene.signed_in()
    for _ in range(4):
        scene.clock.advance(LIMITS.idle - 60)
        assert is_in(browser)
    scene.clock.advance(LIMITS.idle)
    assert not is_in(browser)


def test_a_session_ends_after_eight_hours_of_use(scene):
    browser = scene.signed_in()
    for _ in range(8 * 6 - 1):
        scene.clock.advance(600)
        assert is_in(browser)
    scene.clock.advance(600)
    assert not is_in(browser)


def test_a_clock_that_is_set_back_lengthens_nothing(scene):
    browser = scene.signed_in()
    scene.clock.advance(-3600)
    assert not is_in(browser)


def test_what_ends_has_ended_for_good(scene):
    browser = scene.signed_in()
    scene.clock.advance(LIMITS.idle)
    assert not is_in(browser)
    scene.clock.advance(-LIMITS.idle)
    assert not is_in(browser)


@pytest.mark.parametrize(
    "changes",
    [
        {"state": State.SUSPENDED},
        {"roles": frozenset({StaffRole.DESK})},
        {"password": "another"},
        {"display": "Amy Wang"},
    ],
    ids=["suspended", "roles", "password", "anything"],
)
def test_changes_of_an_account_end_its_sessions_at_once(scene, changes):
    if "password" in changes:
        cost = scene.staff.accounts()["amy"].password.cost
        changes = {"password": PasswordHash(cost, b"s" * 16, b"t" * 32)}
    amy, otto = scene.signed_in("amy"), scene.signed_in("otto")
    assert is_in(amy)
    scene.change("amy", **changes)
    assert not is_in(amy)
    assert is_in(otto)


def test_signing_out_ends_the_session_everywhere_it_was_copied(scene):
    browser = scene.signed_in()
    thief = browser.copy()
    assert is_in(thief)
    browser.get("/")
    assert browser.post("/signout").headers["location"] == "/signin?said=signed_out"
    assert not is_in(thief)
    assert scene.told()[-1] == ("sign_out", "done", "staff/session", "staff.sign-in")
    assert "You are signed out." in browser.get("/signin?said=signed_out").text


def test_others_are_signed_out(scene):
    here, there, another = scene.signed_in(), scene.signed_in(), scene.signed_in("otto")
    page = here.get("/account")
    assert page.text.count("Chrome, Windows") == 2
    assert here.post("/account/sessions/end").headers["location"].startswith("/account")
    assert (is_in(here), is_in(there), is_in(another)) == (True, False, True)
    assert scene.entries()[-1].count == 1


def test_the_store_holds_no_secret(scene):
    browser = scene.signed_in()
    (cookie,) = (value for name, value in browser.cookies.items() if "session" in name)
    secret = base64.urlsafe_b64decode(cookie + "=")
    assert len(secret) == 32
    folder = scene.staff.directory
    data = b"".join(path.read_bytes() for path in folder.glob("signin.sqlite*"))
    for shape in (secret, cookie.encode(), secret.hex().encode()):
        assert shape not in data
    assert {path.stat().st_mode & 0o777 for path in folder.glob("signin.sqlite*")} == {0o600}


def test_a_made_up_cookie_opens_nothing(scene):
    browser = scene.signed_in()
    (name,) = (name for name in browser.cookies if "session" in name)
    for wrong in ("", "x", "A" * 43, "é" * 20, "A" * 5000, browser.cookies[name][:-2] + "AA"):
        thief = browser.copy()
        thief.cookies = {name: wrong} if wrong.isascii() else {}
        if thief.cookies and wrong:
            assert not is_in(thief)


def test_sessions_survive_a_restart(scene):
    browser = scene.signed_in()
    again = SqliteSignIns(scene.staff.directory)
    try:
        (session,) = again.sessions("amy")
        assert session.account == "amy"
    finally:
        again.close()
    assert is_in(browser)


def test_an_account_has_so_many_sessions_and_the_oldest_goes(scene):
    first = scene.signed_in()
    for _ in range(MOST_EACH):
        scene.clock.advance(1)
        scene.signed_in()
    assert len(scene.door.store.sessions("amy")) == MOST_EACH
    assert not is_in(first)


def test_what_has_ended_is_swept_away(scene):
    scene.signed_in()
    scene.clock.advance(9 * 3600)
    scene.signed_in("otto")
    assert scene.door.store.sessions("amy") == []


def test_a_proof_is_fresh_for_five_minutes(scene):
    browser = scene.signed_in()
    page = browser.get("/account")
    assert "Add a passkey" in page.text
    scene.clock.advance(LIMITS.fresh)
    page = browser.get("/account")
    assert "Prove who you are" in page.text
    answer = browser.post("/account/passkeys/remove", {"passkey": "AAAA", "back": "/account"})
    assert answer.headers["location"] == "/again?next=%2Faccount"
    assert browser.get("/again?next=%2Faccount").status_code == 200
    wrong = browser.post("/again", {"password": "wrong", "next": "/account"})
    assert wrong.status_code == 422
    right = browser.post("/again", {"password": "a long enough secret of amy", "next": "/account"})
    assert right.headers["location"] == "/account"
    assert "Add a passkey" in browser.get("/account").text
    assert [line[:2] for line in scene.told()[-2:]] == [
        ("prove_again", "refused"), ("prove_again", "done"),
    ]  # fmt: skip


def test_a_form_of_a_session_that_has_ended_says_so(scene):
    browser = scene.signed_in()
    browser.get("/account")
    scene.clock.advance(LIMITS.idle)
    answer = browser.post("/account/sessions/end")
    assert answer.headers["location"] == "/signin?said=ended"


def test_a_damaged_store_serves_nobody(scene):
    browser = scene.signed_in()
    with pytest.raises(StorageError):
        scene.door.store._read("SELECT nothing FROM nowhere")
    connection = sqlite3.connect(scene.staff.directory / "signin.sqlite")
    connection.execute("DROP TABLE session")
    connection.close()
    answer = browser.get("/account")
    assert answer.status_code == 503
    assert "session" not in answer.text
