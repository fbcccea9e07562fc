"""Signing in by an issuer that is a process of its own, over HTTPS; honest and otherwise."""

import json
import os
import random
import re
import ssl
import subprocess
import sys
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from compliance.policy.actors import StaffRole
from compliance.signin.challenges import Challenges
from compliance.signin.errors import IssuerError, SignInError
from compliance.signin.issuer.flow import Issuer
from compliance.signin.issuer.people import bind_identity
from compliance.signin.settings import IssuerSettings, read_settings
from compliance.signin.store import SqliteSignIns
from compliance.staff.accounts import State
from compliance.staff.acting import identify
from compliance.web.certificates import local_certificate

PROCESS = Path(__file__).with_name("issuer_process.py")
SECRET = "s3cret%:+ of the client"
NOW = 1_800_064_800
CALLBACK = "/signin/issuer/callback"


@dataclass
class Provider:
    """The issuer's process, as a test talks to it."""

    address: str
    client: httpx.Client
    authority: Path

    def tell(self, **wanted):
        self.client.post(f"{self.address}/control", content=json.dumps(wanted))

    def lead(self, page):
        """Follow a page of ours to the issuer, and return where it leads back."""
        (address,) = re.findall(r'content="0;url=([^"]+)"', page)
        assert address.startswith(self.address)
        answer = self.client.get(address)
        assert answer.status_code == 302, answer.text
        back = urllib.parse.urlsplit(answer.headers["location"])
        return f"{back.path}?{back.query}"

    def asked(self, path):
        return self.client.get(f"{self.address}/asked").json().count(path)


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    folder = tmp_path_factory.mktemp("issuer")
    made = local_certificate(folder, int(time.time()))
    command = [sys.executable, PROCESS, made.path, made.key, "localhost"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            address = running.stdout.readline().strip()
            context = ssl.create_default_context(cafile=made.path)
            with httpx.Client(verify=context, trust_env=False) as client:
                yield Provider(address, client, made.path)
        finally:
            running.kill()


@pytest.fixture
def provider(process):
    process.tell(now=NOW, person={"sub": "s-1"}, lie="")
    return process


@pytest.fixture
def configured(make_scene, provider, tmp_path):
    """Open a console by a signin.json; further fields of the issuer as arguments."""

    def make(**fields):
        root = tmp_path / "insurer"
        root.mkdir(exist_ok=True)
        (root / "secret").write_text(SECRET)
        (root / "secret").chmod(0o600)
        issuer = {
            "title": "Formosa SSO", "url": provider.address, "client_id": "lianfang",
            "client_secret_file": "secret", "authority": str(provider.authority),
        } | fields  # fmt: skip
        (root / "signin.json").write_text(json.dumps({"issuer": issuer}))
        return make_scene(read_settings(root))

    return make


MAPPED = {
    "groups_claim": "groups",
    "roles": {"fraud-desk": ["desk"], "fraud-analysts": ["analyst", "desk"]},
}


def bind(scene, provider, name="amy", subject="s-1"):
    who = identify(scene.staff, scene.office, name="amy", second="otto",
                   ask="a long enough secret of {}".format, agree="{number}")  # fmt: skip
    bind_identity(
        scene.staff, scene.door.store, scene.office, who, name,
        issuer=provider.address, subject=subject, reason="moved to the issuer",
    )  # fmt: skip


def begin(scene, browser=None, path="/"):
    browser = browser or scene.browser()
    browser.get("/signin")
    page = browser.post("/signin/issuer", {"next": path})
    assert page.status_code == 200, page.text
    return browser, page


def come(scene, provider, browser=None, path="/"):
    """Go to the issuer and back, as a browser does; returns it and the last answer."""
    browser, _ = begin(scene, browser, path)
    return browser, arrive(browser, provider.lead(browser.page))


def arrive(browser, back):
    forwarded = browser.get(back, site="cross-site")
    assert forwarded.status_code == 200
    (address,) = re.findall(r'content="0;url=([^"]+)"', browser.page)
    assert address == back
    return browser.get(back)


def test_a_bound_person_signs_in(configured, provider):
    scene = configured()
    bind(scene, provider)
    browser, answer = come(scene, provider, path="/people")
    assert (answer.status_code, answer.headers["location"]) == (303, "/people")
    assert "Amy" in browser.get("/").text
    assert scene.told()[-1] == ("sign_in", "done", "staff/issuer", "staff.sign-in")
    assert "s-1" not in "".join(scene.part(entry).decision for entry in scene.entries())


def test_binding_needs_a_second_person_and_stands_in_the_log(configured, provider):
    scene = configured()
    bind(scene, provider)
    entry = scene.entries()[-1]
    assert (entry.act, entry.outcome.value) == ("grant_role", "done")
    assert "approvers-commit" in entry.policies
    assert scene.part(entry).subject == "account amy"


def test_a_person_whom_nobody_bound_is_refused(configured, provider):
    scene = configured()
    browser, answer = come(scene, provider)
    assert answer.status_code == 422
    assert scene.told() == [("sign_in", "refused", "staff/issuer", "signin.unbound")]
    assert browser.get("/").status_code == 303
    assert "s-1" not in scene.part(scene.entries()[-1]).decision


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_groups_make_an_account_with_their_roles(configured, provider, algorithm):
    scene = configured(**MAPPED)
    person = {"sub": "s-2", "groups": ["fraud-analysts", "canteen"], "name": "Ling Chen"}
    provider.tell(person=person, algorithm=algorithm)
    browser, answer = come(scene, provider)
    assert answer.headers["location"] == "/"
    assert "Ling Chen" in browser.get("/").text
    provider.tell(algorithm="RS256")
    (name,) = set(scene.staff.accounts()) - set(PEOPLE)
    account = scene.staff.accounts()[name]
    assert account.roles == {StaffRole.ANALYST, StaffRole.DESK}
    assert [line[::3] for line in scene.told()] == [
        ("grant_role", "staff.issuer"), ("sign_in", "staff.sign-in"),
    ]  # fmt: skip


PEOPLE = {"dora", "anna", "paul", "amy", "otto"}


def test_roles_follow_the_groups_and_end_what_was_open(configured, provider):
    scene = configured(**MAPPED)
    provider.tell(person={"sub": "s-2", "groups": ["fraud-analysts"]})
    before, _ = come(scene, provider)
    scene.clock.advance(1)
    provider.tell(person={"sub": "s-2", "groups": ["fraud-desk"]}, now=NOW + 1)
    after, _ = come(scene, provider)
    assert before.get("/").status_code == 303
    assert "Desk" in after.get("/account").text
    assert "Analyst" not in after.get("/account").text
    provider.tell(person={"sub": "s-2", "groups": []})
    _, answer = come(scene, provider)
    assert answer.status_code == 422
    assert after.get("/").status_code == 303
    assert scene.told()[-1][-1] == "signin.no_role"


def test_an_account_of_groups_opens_in_no_other_way(configured, provider, authenticator):
    scene = configured(**MAPPED)
    provider.tell(person={"sub": "s-2", "groups": ["fraud-desk"]})
    browser, _ = come(scene, provider)
    browser.get("/account")
    assert "Add a passkey" not in browser.page
    assert browser.post("/account/passkeys/options", accept="application/json").status_code == 403
    (name,) = set(scene.staff.accounts()) - PEOPLE
    for password in ("", "0" * 32):
        assert scene.browser().sign_in(name, password).status_code == 422


def test_a_suspended_person_stays_out_whatever_the_issuer_says(configured, provider):
    scene = configured(**MAPPED)
    provider.tell(person={"sub": "s-2", "groups": ["fraud-desk"]})
    come(scene, provider)
    (name,) = set(scene.staff.accounts()) - PEOPLE
    scene.change(name, state=State.SUSPENDED)
    assert come(scene, provider)[1].status_code == 422
    assert scene.told()[-1][-1] == "signin.suspended"


LIES = {
    "wrong_nonce": "not for this sign-in",
    "no_nonce": "not for this sign-in",
    "wrong_aud": "for another client",
    "further_aud": "for another client",
    "wrong_azp": "for another client",
    "expired": "run out",
    "old": "issued at another time",
    "future": "issued at another time",
    "no_exp": "without a time in exp",
    "endless": "without a time in exp",
    "other_issuer": "another issuer",
    "no_sub": "of nobody",
    "long_sub": "of nobody",
    "none": "an algorithm that is not taken",
    "hs256": "an algorithm that is not taken",
    "foreign_key": "not signed by the issuer",
    "own_key_in_header": "not signed by the issuer",
    "logout_token": "a token of another type",
    "tampered": "not signed by the issuer",
    "no_token": "there is no ID token",
    "list": "signed what is no object",
    "redirect": "the code was not taken",
    "huge": "the code was not taken",
    "packed": "the code was not taken",
    "html": "the code was not taken",
    "no_json": "the code was not taken",
    "array": "there is no ID token",
    "wrong_iss": "the answer is from another issuer",
    "no_iss": "does not say which issuer",
    "wrong_state": "nothing was begun",
    "error": "the issuer sent no code",
    "error_and_code": "the issuer sent no code",
    "no_code": "the issuer sent no code",
    "long_code": "the code was not taken",
}


@pytest.mark.parametrize("lie", LIES)
def test_each_lie_is_refused_for_what_it_is(one_issuer, provider, lie):
    secret = random.randbytes(32)
    address = one_issuer.begin(secret, path="/", again=False, now=NOW)
    provider.tell(lie=lie)
    back = urllib.parse.urlsplit(provider.client.get(address).headers["location"])
    query = dict(urllib.parse.parse_qsl(back.query))
    with pytest.raises((SignInError, IssuerError), match=LIES[lie]):
        one_issuer.finish(secret, query, now=NOW)
    provider.tell(lie="")
    with pytest.raises(SignInError, match="nothing was begun"):
        one_issuer.finish(secret, query, now=NOW)


@pytest.fixture(scope="module")
def one_issuer(process, tmp_path_factory):
    """Our side of the flow alone, without pages."""
    store = SqliteSignIns(tmp_path_factory.mktemp("flow"))
    settings = IssuerSettings(
        "SSO", process.address, "lianfang", secret=SECRET, authority=process.authority
    )
    issuer = Issuer(
        settings, origin="https://localhost:9446", challenges=Challenges(store), random=os.urandom
    )
    yield issuer
    issuer.close()
    store.close()


@pytest.mark.parametrize("lie", ["wrong_nonce", "hs256", "wrong_iss", "error_and_code"])
def test_an_issuer_that_lies_lets_nobody_in(configured, provider, lie):
    scene = configured()
    bind(scene, provider)
    count = len(scene.entries())
    browser, _ = begin(scene)
    provider.tell(lie=lie)
    answer = arrive(browser, provider.lead(browser.page))
    assert answer.status_code == 422
    assert "<script>" not in answer.text
    assert browser.get("/").status_code == 303
    assert scene.told(count) == [("sign_in", "refused", "staff/issuer", "signin.issuer")]


@pytest.mark.parametrize("lie", ["calls_itself_otherwise", "plain_http", "endless_metadata"])
def test_an_issuer_that_describes_itself_wrongly_is_not_used(configured, provider, lie):
    scene = configured()
    provider.tell(lie=lie)
    browser = scene.browser()
    browser.get("/signin")
    assert browser.post("/signin/issuer", {"next": "/"}).status_code == 503


def test_an_answer_counts_once_and_in_one_browser(configured, provider):
    scene = configured()
    bind(scene, provider)
    browser, _ = begin(scene)
    back = provider.lead(browser.page)
    thief = scene.browser()
    thief.get("/signin")
    assert arrive(thief, back).status_code == 422, "somebody else's code (login forgery)"
    assert arrive(browser, back).status_code == 303
    again = scene.browser()
    again.get("/signin")
    assert arrive(again, back).status_code == 422


def test_a_replayed_code_is_not_taken(configured, provider):
    """The state of another attempt with a code that was used: the verifier does not fit."""
    scene = configured()
    bind(scene, provider)
    browser, _ = begin(scene)
    first = dict(urllib.parse.parse_qsl(provider.lead(browser.page).partition("?")[2]))
    assert arrive(browser, f"{CALLBACK}?{urllib.parse.urlencode(first)}").status_code == 303
    other, _ = begin(scene)
    second = dict(urllib.parse.parse_qsl(provider.lead(other.page).partition("?")[2]))
    mixed = urllib.parse.urlencode(second | {"code": first["code"]})
    assert arrive(other, f"{CALLBACK}?{mixed}").status_code == 422


def test_a_field_that_comes_twice_is_refused(configured, provider):
    scene = configured()
    bind(scene, provider)
    browser, _ = begin(scene)
    back = provider.lead(browser.page)
    assert arrive(browser, f"{back}&code=another").status_code == 422


def test_what_was_begun_is_forgotten_after_ten_minutes(configured, provider):
    scene = configured()
    bind(scene, provider)
    browser, _ = begin(scene)
    back = provider.lead(browser.page)
    scene.clock.advance(600)
    assert arrive(browser, back).status_code == 422


def test_keys_are_asked_for_again_when_they_change_and_not_for_every_token(configured, provider):
    scene = configured()
    bind(scene, provider)
    before = provider.asked("/jwks")
    come(scene, provider)
    come(scene, provider)
    assert provider.asked("/jwks") == before + 1
    provider.tell(rotate=True)
    assert come(scene, provider)[1].status_code == 422, "too soon to ask again"
    scene.clock.advance(60)
    provider.tell(now=NOW + 60)
    assert come(scene, provider)[1].status_code == 303
    assert provider.asked("/jwks") == before + 2
    provider.tell(lie="foreign_key")
    for _ in range(3):
        come(scene, provider)
    assert provider.asked("/jwks") == before + 2


def test_a_new_proof_by_the_issuer_must_be_new(configured, provider):
    scene = configured()
    bind(scene, provider)
    browser, _ = come(scene, provider)
    scene.clock.advance(400)
    provider.tell(now=NOW + 400, lie="stale_proof")
    for lie, fresh in (("stale_proof", False), ("", True)):
        provider.tell(lie=lie)
        browser.get("/again?next=/account")
        page = browser.post("/again/issuer", {"next": "/account"})
        assert "prompt=login" in page.text
        answer = browser.get(provider.lead(browser.page))
        assert answer.status_code == (303 if fresh else 422)
        assert ("Add a passkey" in browser.get("/account").text) is fresh


def test_another_person_at_the_issuer_proves_nothing_for_who_is_signed_in(configured, provider):
    scene = configured()
    bind(scene, provider)
    bind(scene, provider, "otto", "s-9")
    browser, _ = come(scene, provider)
    scene.clock.advance(400)
    provider.tell(now=NOW + 400, person={"sub": "s-9"})
    browser.get("/again?next=/account")
    browser.post("/again/issuer", {"next": "/account"})
    assert browser.get(provider.lead(browser.page)).headers["location"] == "/again"
    assert "Add a passkey" not in browser.get("/account").text


def test_an_issuer_that_is_away_is_told_and_passwords_go_on(make_scene, tmp_path):
    root = tmp_path / "insurer"
    root.mkdir()
    issuer = {"title": "SSO", "url": "https://localhost:1", "client_id": "c"}
    (root / "signin.json").write_text(json.dumps({"issuer": issuer}))
    scene = make_scene(read_settings(root))
    browser = scene.browser()
    browser.get("/signin")
    assert browser.post("/signin/issuer", {"next": "/"}).status_code == 503
    scene.signed_in("amy")


def test_a_server_with_another_certificate_is_not_the_issuer(configured, provider, tmp_path):
    other = local_certificate(tmp_path / "other", int(time.time()))
    scene = configured(authority=str(other.path))
    browser = scene.browser()
    browser.get("/signin")
    assert browser.post("/signin/issuer", {"next": "/"}).status_code == 503
