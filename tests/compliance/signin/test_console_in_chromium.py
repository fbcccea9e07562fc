"""The console in a real browser: pictures, accessibility, content policy, passkeys, an issuer.

Every page is shown in both languages, light and dark, at the width of a telephone and of a
monitor. Where the variable LIANFANG_PICTURES names a folder, each is kept there as a picture.
"""

import json
import os
import re
import ssl
import subprocess
import sys
import time
from contextlib import ExitStack
from itertools import product
from pathlib import Path

import httpx
import pytest

from compliance.policy.actors import StaffRole
from compliance.signin.settings import IssuerSettings, SignInSettings
from compliance.web.certificates import local_certificate
from tests.browsers import NOW, PASSWORD, STAFF
from tests.chromium import (
    WIDTHS,
    check_look,
    keep,
    needs_chromium,
    served,
    sign_in,
    watched,
)

PAGES = ("/signin", "/", "/account", "/again", "/people", "/nowhere")
pytestmark = [pytest.mark.slow, needs_chromium]


@pytest.fixture
def serve(make_scene, tmp_path):
    """Serve a console; returns its scene and its address."""
    with ExitStack() as ending:
        yield lambda **options: ending.enter_context(
            served(make_scene, tmp_path / "console", **options)
        )


@pytest.mark.parametrize(("language", "scheme"), [*product(("zh-TW", "en"), ("light", "dark"))])
def test_every_page_is_accessible_and_keeps_its_policy(serve, chromium, language, scheme):
    many = {f"clerk-{n}": "desk" for n in range(70)}
    _, origin = serve(people=STAFF | many, demo=True)
    for width in WIDTHS:
        context = chromium.new_context(
            ignore_https_errors=True, reduced_motion="reduce", locale=language, color_scheme=scheme,
            viewport={"width": width, "height": 900},
        )  # fmt: skip
        page, said = watched(context)
        for path in PAGES:
            if path == "/":
                sign_in(page, origin)
            response = page.goto(f"{origin}{path}")
            assert response.status == (404 if path == "/nowhere" else 200)
            assert page.get_attribute("html", "lang") == (
                "en" if language == "en" else "zh-Hant-TW"
            )
            keep(page, f"{path.strip('/') or 'home'}-{language}-{scheme}-{width}")
            check_look(page, (path, width))
        context.close()
        assert [line for line in said if "404" not in line] == []


def test_injected_markup_is_refused_by_the_browser(serve, chromium):
    _, origin = serve()
    context = chromium.new_context(ignore_https_errors=True, reduced_motion="reduce")
    page, said = watched(context)
    page.goto(f"{origin}/signin")
    told = page.evaluate(
        "() => { try { document.body.innerHTML = '<img src=x onerror=alert(1)>'; return 'taken' }"
        " catch (error) { return error.name } }"
    )
    assert told == "TypeError"
    assert any("TrustedHTML" in line for line in said)


def test_a_passkey_of_the_browser_is_made_and_signs_in(serve, chromium):
    scene, origin = serve()
    context = chromium.new_context(
        ignore_https_errors=True, reduced_motion="reduce", locale="zh-TW"
    )
    page, said = watched(context)
    devtools = context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": {
        "protocol": "ctap2", "transport": "internal", "hasResidentKey": True,
        "hasUserVerification": True, "isUserVerified": True, "automaticPresenceSimulation": True,
    }})  # fmt: skip
    sign_in(page, origin)
    page.goto(f"{origin}/account")
    page.fill("#name", "桌上型電腦")
    page.click("form[action='/account/passkeys'] button")
    page.wait_for_url(re.compile("said=passkey_added"))
    assert "桌上型電腦" in page.inner_text("main")
    keep(page, "account-with-passkey")
    page.click("form[action='/signout'] button")
    page.wait_for_url(re.compile("signed_out"))
    keep(page, "signed-out")
    page.click("form[action='/signin/passkey'] button")
    page.wait_for_url(f"{origin}/")
    assert "Amy" in page.inner_text("main")
    page.goto(f"{origin}/again?next=/account")
    page.click("form[action='/again/passkey'] button")
    page.wait_for_url(f"{origin}/account")
    assert said == []
    acts = [entry.act for entry in scene.entries()]
    assert acts == ["sign_in", "add_passkey", "sign_out", "sign_in", "prove_again"]
    (passkey,) = scene.door.store.passkeys("amy")
    assert passkey.sign_count >= 1


def test_everything_but_passkeys_works_without_javascript(serve, chromium):
    _, origin = serve()
    context = chromium.new_context(
        ignore_https_errors=True, reduced_motion="reduce", java_script_enabled=False, locale="en"
    )
    page, _ = watched(context)
    page.goto(f"{origin}/account")
    assert page.is_hidden("form[action='/signin/passkey']")
    page.fill("#account", "amy")
    page.fill("#password", PASSWORD.format("amy"))
    page.click("form[action='/signin'] button")
    page.wait_for_url(f"{origin}/account")
    page.click("form[action='/language'] button")
    page.wait_for_url(f"{origin}/account")
    assert page.inner_text("h1") == "我的帳號"
    assert "JavaScript" in page.inner_text("main")
    page.click("form[action='/signout'] button")
    assert "您已登出" in page.inner_text("main")


def test_a_link_from_another_site_arrives_signed_in(serve, chromium):
    _, origin = serve()
    context = chromium.new_context(ignore_https_errors=True, reduced_motion="reduce", locale="en")
    page, said = watched(context)
    sign_in(page, origin)
    # Another site as far as browsers are concerned: an address is never same-site with a name.
    page.route("https://elsewhere.example/*", lambda route: route.fulfill(
        content_type="text/html", body=f'<a href="{origin}/people">to the staff</a>'))  # fmt: skip
    page.goto("https://elsewhere.example/")
    page.click("a")
    page.wait_for_selector("h1:has-text('Staff')")
    assert page.url == f"{origin}/people"
    assert said == []


def test_the_way_to_the_issuer_and_back(serve, chromium, tmp_path):
    """The content policy lets a form lead to the issuer, and its answer finds a Strict cookie."""
    made = local_certificate(tmp_path / "issuer", int(time.time()))
    process = Path(__file__).with_name("issuer_process.py")
    # For a browser an address is never the same site as a name; two ports of a name would be.
    command = [sys.executable, process, made.path, made.key, "127.0.0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            address = running.stdout.readline().strip()
            settings = SignInSettings(
                issuer=IssuerSettings(
                    "福爾摩沙單一登入", address, "lianfang", secret="s3cret%:+ of the client",
                    authority=made.path, groups_claim="groups",
                    roles={"desk": frozenset({StaffRole.DESK})},
                )
            )  # fmt: skip
            scene, origin = serve(settings=settings)
            person = {"now": NOW, "person": {"sub": "s", "groups": ["desk"], "name": "陳小玲"}}
            context = ssl.create_default_context(cafile=made.path)
            with httpx.Client(verify=context, trust_env=False) as client:
                client.post(f"{address}/control", content=json.dumps(person))
            browsing = chromium.new_context(
                ignore_https_errors=True, reduced_motion="reduce", locale="zh-TW"
            )
            page, said = watched(browsing)
            page.goto(f"{origin}/account")
            keep(page, "signin-with-issuer")
            page.click("form[action='/signin/issuer'] button")
            page.wait_for_url(f"{origin}/account")
            assert "陳小玲" in page.inner_text("main")
            keep(page, "account-of-issuer")
            assert said == []
            assert [entry.act for entry in scene.entries()] == ["grant_role", "sign_in"]
        finally:
            running.kill()


def test_a_page_is_a_few_kilobytes(serve, chromium):
    """Bytes over the wire at the first page, headers included; the figures go with the pictures."""
    _, origin = serve()
    context = chromium.new_context(
        ignore_https_errors=True, reduced_motion="reduce", locale="zh-TW"
    )
    page, _ = watched(context)
    page.goto(f"{origin}/signin")
    found = {"/signin": page.evaluate(MEASURE)}
    assert sum(size for _, size, _ in found["/signin"]) < 12_000
    sign_in(page, origin)
    for path in ("/", "/account", "/people"):
        page.goto(f"{origin}{path}")
        found[path] = page.evaluate(MEASURE)
        assert sum(size for _, size, _ in found[path]) < 8_000, "style and module are kept"
    if folder := os.environ.get("LIANFANG_PICTURES"):
        Path(folder, "figures.json").write_text(json.dumps(found, indent=1))


MEASURE = """
[...performance.getEntriesByType("resource"), ...performance.getEntriesByType("navigation")].map(
  (entry) => [entry.name, entry.transferSize, Math.round(entry.responseStart - entry.requestStart)]
)"""
