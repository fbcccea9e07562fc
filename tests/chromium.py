"""A real browser at the screens: watched for complaints, photographed where a folder is named."""

import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from compliance.web.certificates import local_certificate
from compliance.web.serving import SiteServer, listen
from tests.browsers import PASSWORD

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic",
)  # fmt: skip
WIDTHS = (390, 1440)
needs_chromium = pytest.mark.skipif(shutil.which(CHROMIUM) is None, reason="no Chromium installed")


@contextmanager
def launched():
    """Give a browser."""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


@contextmanager
def served(make, folder, **options):
    """Serve the console of a scene that is made for an origin; gives the scene and the origin."""
    listener = listen("127.0.0.1", 0)
    with listener:
        origin = f"https://localhost:{listener.getsockname()[1]}"
        scene = make(origin=origin, **options)
        server = SiteServer(scene.console.site.app())
        server.start(listener, local_certificate(folder, int(time.time())))
        try:
            yield scene, origin
        finally:
            server.stop()


def watched(context):
    """A page whose every complaint is kept."""
    page = context.new_page()
    said = []
    page.on(
        "console",
        lambda line: said.append(line.text) if line.type in {"error", "warning"} else None,
    )
    page.on("pageerror", lambda error: said.append(str(error)))
    return page, said


def sign_in(page, origin, name="amy"):
    page.goto(f"{origin}/signin")
    page.fill("#account", name)
    page.fill("#password", PASSWORD.format(name))
    page.click("form[action='/signin'] button")
    page.wait_for_url(f"{origin}/")


def keep(page, name):
    if folder := os.environ.get("LIANFANG_PICTURES"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def check_look(page, what):
    """Nobody is shut out, nothing is wider than the screen."""
    found = Axe().run(page)
    assert found.violations_count == 0, (what, found.generate_report())
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), what
