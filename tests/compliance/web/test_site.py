"""A site of a few pages: what every answer says, who is let in, and how a mistake is told."""

import asyncio
import json
import re
from dataclasses import dataclass, field
from html import unescape

import httpx
import pytest
from jinja2 import UndefinedError

from compliance.agreement.vocabulary import Title
from compliance.clock import FixedClock
from compliance.errors import LogCorruptError, NotPermittedError
from compliance.log.errors import StorageError
from compliance.policy.actors import StaffRole
from compliance.web.access import EVERYBODY, SIGNED_IN, only
from compliance.web.errors import STATUSES, BusyError, TooOftenError
from compliance.web.page import Page
from compliance.web.site import Site
from compliance.web.sources import Sources
from compliance.web.visit import Known

ORIGIN = "https://console.example"
SECRET = b"s" * 32
COOKIE = "__Host-lianfang-insurer-session=" + "c3Nz" * 10 + "c3M"
TEMPLATE = """{% extends "layout.html" %}{% block title %}x{% endblock %}
{% block content %}<h1>{{ shown }}</h1>{% endblock %}"""


@dataclass
class Keeper:
    """Knows one person, by one secret."""

    roles: frozenset = frozenset({StaffRole.DESK})
    fresh: bool = True
    broken: bool = False

    def known(self, secret, now):
        if self.broken:
            raise StorageError("store: gone")
        return Known("dora", "Dora", self.roles, b"k", now) if secret == SECRET else None

    def is_fresh(self, known, now):
        return self.fresh


@dataclass
class Client:
    app: object
    headers: dict = field(default_factory=dict)

    def __call__(self, method, path, data=None, **headers):
        async def send():
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
                named = {key.replace("_", "-"): value for key, value in headers.items()}
                return await client.request(method, path, data=data, headers=self.headers | named)

        return asyncio.run(send())

    def token(self, path="/free"):
        return re.search(r'name="token" value="(\w+)"', self("GET", path).text)[1]


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Make a site of some pages; returns how it is asked, as somebody or nobody."""
    package = tmp_path / "some_screens"
    for folder in ("templates", "texts"):
        (package / folder).mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "templates" / "shown.html").write_text(TEMPLATE)
    for name in ("en", "zh"):
        (package / "texts" / f"{name}.json").write_text(json.dumps({"menu.mine": f"Mine {name}"}))
    monkeypatch.syspath_prepend(tmp_path)

    def site(*pages, keeper=None, origin=ORIGIN, demo=False, proxies=()):
        made = Site(
            name="insurer", title=Title("Formosa Life", "福爾摩沙人壽"), origin=origin,
            doorkeeper=keeper or Keeper(), pages=pages, packages=("some_screens",),
            clock=FixedClock(1_800_064_800), random=lambda size: b"r" * size,
            sources=Sources(frozenset(proxies)), demo=demo,
        )  # fmt: skip
        return made, Client(made.app()), Client(made.app(), {"cookie": COOKIE})

    return site


def shown(value):
    return lambda visit: visit.render("shown.html", shown=value)


FREE = Page("/free", EVERYBODY, show=shown("free"))


def test_every_answer_keeps_the_browser_from_everything_else(make):
    _, nobody, _ = make(FREE, Page("/bad", EVERYBODY, show=lambda _: 1 / 0))
    for method, path in (("GET", "/free"), ("GET", "/none"), ("GET", "/bad"), ("DELETE", "/free")):
        headers = nobody(method, path).headers
        policy = headers["content-security-policy"]
        assert policy == (
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
            "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
            "require-trusted-types-for 'script'; trusted-types 'none'"
        )
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["strict-transport-security"] == "max-age=63072000"
        assert "server" not in headers


def test_localhost_is_not_bound_to_https_for_all_its_programs(make):
    site, *_ = make(FREE, origin="https://localhost:9446")
    client = Client(site.app())
    answer = client("GET", "/free", host="localhost:9446")
    assert answer.status_code == 200
    assert "strict-transport-security" not in answer.headers


def test_pages_run_nothing_and_fetch_nothing_from_elsewhere(make):
    _, nobody, _ = make(FREE)
    text = nobody("GET", "/free").text
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", text)
    assert not re.search(r"<style|\bstyle=|\bon[a-z]+=|javascript:", text)
    assert re.findall(r"<script[^>]*>(.*?)</script>", text) == [""]


def test_style_and_module_are_small_and_kept_by_browsers(make):
    site, nobody, _ = make(FREE)
    for name, most in (("style.css", 12_000), ("app.js", 6_000)):
        plain = nobody("GET", site.static.path(name), accept_encoding="identity")
        packed = nobody("GET", site.static.path(name), accept_encoding="gzip")
        assert len(plain.content) < most
        assert plain.content == packed.content
        assert packed.headers["content-encoding"] == "gzip"
        assert "immutable" in plain.headers["cache-control"]
    assert nobody("GET", "/static/none.css").status_code == 404
    assert nobody("GET", "/static/..%2f..%2fsite.py").status_code == 404


def test_pages_with_tokens_are_never_packed(make):
    _, nobody, _ = make(FREE)
    assert "content-encoding" not in nobody("GET", "/free", accept_encoding="gzip").headers


def test_a_page_is_shown_in_the_readers_language(make):
    _, nobody, _ = make(FREE, demo=True)
    chinese = nobody("GET", "/free")
    assert '<html lang="zh-Hant-TW">' in chinese.text
    assert "福爾摩沙人壽" in chinese.text
    assert "示範資料／DEMO DATA" in chinese.text
    english = nobody("GET", "/free", accept_language="en")
    assert '<html lang="en">' in english.text
    assert "Formosa Life" in english.text
    (cookie,) = english.headers.get_list("set-cookie")
    client = Client(nobody.app, {"cookie": cookie.split(";")[0]})
    token = client.token()
    form = {"token": token, "language": "en", "back": "/free"}
    answer = client("POST", "/language", form, origin=ORIGIN)
    assert (answer.status_code, answer.headers["location"]) == (303, "/free")
    kept = answer.headers["set-cookie"].split(";")[0]
    again = nobody("GET", "/free", cookie=kept, accept_language="zh-TW")
    assert '<html lang="en">' in again.text
    bad = client("POST", "/language", form | {"language": "fr"}, origin=ORIGIN)
    assert bad.status_code == 400


def test_what_values_hold_is_escaped(make):
    evil = "<script>alert('x')</script>{{ 7 * 7 }}"
    _, nobody, _ = make(Page("/x", EVERYBODY, show=shown(evil)))
    text = nobody("GET", "/x").text
    assert "<script>alert" not in text
    assert evil in unescape(text)


def test_a_name_that_nobody_gave_is_an_error_and_no_gap(make):
    site, nobody, _ = make(Page("/x", EVERYBODY, show=lambda visit: visit.render("shown.html")))
    assert nobody("GET", "/x").status_code == 500
    with pytest.raises(UndefinedError):
        site.renderer._environment.from_string("{{ nothing }}").render()


def test_navigation_shows_what_the_roles_may_open(make):
    pages = (
        Page("/mine", SIGNED_IN, show=shown("mine"), menu="menu.mine"),
        Page("/theirs", only(StaffRole.APPROVER), show=shown("theirs"), menu="menu.mine"),
    )
    _, nobody, dora = make(FREE, *pages)
    text = dora("GET", "/mine", accept_language="en").text
    assert 'href="/mine" aria-current="page"' in text
    assert "/theirs" not in text
    assert dora("GET", "/theirs").status_code == 403
    assert "<nav" not in nobody("GET", "/free").text


def test_a_form_that_needs_a_fresh_proof_gets_one_first(make):
    done = []
    page = Page("/act", SIGNED_IN, show=shown("x"), fresh=True,
                act=lambda visit: done.append(1) or visit.go("/free"))  # fmt: skip
    keeper = Keeper(fresh=False)
    _, _, dora = make(FREE, page, keeper=keeper)
    form = {"token": dora.token("/act")}
    answer = dora("POST", "/act", form, origin=ORIGIN)
    assert answer.headers["location"] == "/again?next=%2Fact"
    keeper.fresh = True
    assert dora("POST", "/act", form, origin=ORIGIN).headers["location"] == "/free"
    assert done == [1]


def raising(error):
    def fail(_):
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NotPermittedError("the secret reason"), 403, "not_permitted"),
        (StorageError("the secret reason"), 503, "storage"),
        (LogCorruptError("the secret reason"), 503, "log_corrupt"),
        (TooOftenError(90), 429, "too_many_requests"),
        (BusyError("the secret reason"), 503, "busy"),
        (RuntimeError("the secret reason"), 500, "internal_error"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_a_mistake_is_told_in_both_languages_and_to_programs(make, error, status, code):
    _, _, dora = make(FREE, Page("/x", SIGNED_IN, show=raising(error)))
    for language, word in (("en", "To the first page"), ("zh-TW", "回首頁")):
        page = dora("GET", "/x", accept_language=language)
        assert page.status_code == status
        assert word in page.text
        assert "secret reason" not in page.text
    problem = dora("GET", "/x", accept="application/json", accept_language="en")
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.json()["type"] == f"urn:lianfang:problem:{code}"
    assert problem.json()["status"] == status
    assert "secret reason" not in problem.text
    assert problem.headers.get("retry-after") == {429: "90", 503: "5"}.get(status) or (
        code in {"storage", "log_corrupt"}
    )


def test_every_status_has_its_page_in_both_languages(make):
    site, *_ = make(FREE)
    for status in STATUSES:
        for language in ("en", "zh"):
            for part in ("title", "text"):
                assert site.catalogue.text(language, f"error.{status}.{part}")


def test_a_store_that_fails_gives_a_page_and_nobody_is_known(make):
    keeper = Keeper()
    _, _, dora = make(Page("/mine", SIGNED_IN, show=shown("mine")), keeper=keeper)
    keeper.broken = True
    answer = dora("GET", "/mine")
    assert answer.status_code == 503
    assert "Dora" not in answer.text


def test_other_methods_are_told_which_there_are(make):
    _, nobody, _ = make(FREE)
    answer = nobody("DELETE", "/free")
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert nobody("HEAD", "/free").status_code == 200


def test_a_coroutine_may_answer_too(make):
    async def answer(visit):
        await asyncio.sleep(0)
        return visit.render("shown.html", shown="later")

    _, nobody, _ = make(Page("/x", EVERYBODY, show=answer))
    assert "later" in nobody("GET", "/x").text


def test_a_page_has_something_to_do():
    with pytest.raises(ValueError, match="neither"):
        Page("/x", EVERYBODY)
    with pytest.raises(ValueError, match="name a role"):
        only()


@pytest.mark.parametrize(
    ("direct", "forwarded", "source"),
    [
        ("203.0.113.1", [], "203.0.113.1"),
        ("203.0.113.1", ["198.51.100.1"], "203.0.113.1"),  # nobody's proxy
        ("192.0.2.1", ["198.51.100.1"], "198.51.100.1"),
        ("192.0.2.1", ["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
        ("192.0.2.1", ["6.6.6.6", "198.51.100.1, 192.0.2.2"], "198.51.100.1"),
        ("192.0.2.1", ["nonsense"], "unknown"),
        ("2001:db8::1", [], "2001:db8::/64"),
        ("::ffff:203.0.113.1", [], "203.0.113.1"),
        ("", [], "unknown"),
    ],
)
def test_the_source_is_what_our_own_proxies_say(direct, forwarded, source):
    assert Sources(frozenset({"192.0.2.1", "192.0.2.2"})).of(direct, forwarded) == source
