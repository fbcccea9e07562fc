"""Forms: only ours, only from this browser, only of an honest size."""

import pytest

FIELDS = {"account": "amy", "password": "a long enough secret of amy", "next": "/"}


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "https://localhost:9999"},
        {"origin": "http://localhost:9446"},
        {"sec_fetch_site": "cross-site"},
        {"origin": "https://localhost:9446", "sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "none"},
        {"sec_fetch_site": None},
        {"origin": None, "sec_fetch_site": None},
    ],
    ids=str,
)
def test_a_form_of_another_site_changes_nothing(scene, headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    browser = scene.browser()
    browser.get("/signin")
    assert browser.post("/signin", FIELDS, **named).status_code == 403
    assert scene.entries() == []
    inside = scene.signed_in()
    inside.get("/account")
    assert inside.post("/account/sessions/end", **named).status_code == 403


@pytest.mark.parametrize("headers", [{}, {"sec_fetch_site": None}], ids=str)
def test_a_form_of_this_site_is_taken(scene, headers):
    browser = scene.browser()
    browser.get("/signin")
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    told = {"origin": "https://localhost:9446"} | named
    assert browser.post("/signin", FIELDS, **told).status_code == 303


@pytest.mark.parametrize("token", ["", "0" * 64, "ä", None])
def test_a_form_needs_the_token_of_its_browser(scene, token):
    browser, other = scene.browser(), scene.browser()
    browser.get("/signin")
    other.get("/signin")
    wrong = other.token if token is None else token
    assert browser.post("/signin", FIELDS, token=wrong).status_code == 403


def test_no_cookie_no_form(scene):
    browser = scene.browser()
    browser.get("/signin")
    browser.cookies.clear()
    assert browser.post("/signin", FIELDS).status_code == 403


def test_a_token_from_before_signing_in_does_not_count_after(scene):
    browser = scene.browser()
    browser.get("/signin")
    before = browser.token
    browser.sign_in("amy")
    assert browser.post("/account/sessions/end", token=before).status_code == 403


def test_large_and_odd_bodies_are_refused(scene):
    browser = scene.browser()
    browser.get("/signin")
    assert browser.post("/signin", FIELDS | {"more": "x" * 100_000}).status_code == 413
    assert browser.post("/signin", {f"f{n}": "x" for n in range(100)}).status_code == 400
    assert browser.post("/signin", {"account": "amy"}).status_code == 400
    assert browser.post("/signin", FIELDS | {"account": "x" * 400}).status_code == 400
    kind = {"content-type": "multipart/form-data; boundary=x"}
    assert browser.post("/signin", FIELDS, **kind).status_code == 400
    assert scene.entries() == []


def test_a_field_that_comes_twice_is_refused(scene):
    browser = scene.browser()
    browser.get("/signin")
    assert browser.post("/signin", FIELDS | {"account": ["amy", "otto"]}).status_code == 400


def test_another_host_is_no_host_of_ours(scene):
    browser = scene.browser()
    assert browser.get("/signin", host="evil.example").status_code == 400
    assert browser.get("/signin", host="localhost").status_code == 400
    assert browser.get("/signin", host="LOCALHOST:9446").status_code == 200


def test_too_long_addresses_and_heads_are_refused(scene):
    browser = scene.browser()
    assert browser.get("/signin?x=" + "y" * 3000).status_code == 400
    assert browser.get("/signin", **{"x-more": "y" * 20_000}).status_code == 431


def test_a_link_of_another_site_arrives(scene):
    browser = scene.signed_in()
    page = browser.get("/people?page=2", site="cross-site")
    assert page.status_code == 200
    assert 'http-equiv="refresh" content="0;url=/people?page=2"' in page.text
    assert "Amy" not in page.text
    assert "<h1>Staff</h1>" in browser.get("/people?page=2").text


@pytest.mark.parametrize("query", ['"><script>alert(1)</script>', "{{7*7}}", "{%25 raw %25}"])
def test_what_readers_send_is_shown_as_text_or_not_at_all(scene, query):
    browser = scene.signed_in()
    for path in ("/people?page=", "/?said=", "/again?next=", "/account?x="):
        answer = browser.get(path + query)
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text
        assert "49" not in answer.text.replace(browser.token, "")
