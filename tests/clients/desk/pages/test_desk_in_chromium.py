"""The desk in a real browser: every light in every look, by keyboard alone, without JavaScript."""

from itertools import product

import pytest

from protocols.identifiers import IdentifierKind
from protocols.lookup.payload import Slot, Status
from tests.chromium import (
    WIDTHS,
    check_look,
    keep,
    needs_chromium,
    served,
    sign_in,
    watched,
)

PHONE, PERSON = IdentifierKind.PHONE, IdentifierKind.TW_PERSON_ID
# What the town says of each, with the light that it makes.
NUMBERS = {"red": "0912-345-678", "yellow": "0922-345-678", "green": "0933-345-678"}
pytestmark = [pytest.mark.slow, needs_chromium]


@pytest.fixture
def reported(town, person):
    """A town in which every light can be met; the last customer is a suspected victim."""
    town.publish(contributor="telecom")
    town.publish([
        (PHONE, NUMBERS["red"], {}), (PHONE, NUMBERS["yellow"], {"status": Status.REPORTED}),
        (PERSON, person(1), {"slot": Slot.VICTIM}),
    ])  # fmt: skip
    return NUMBERS | {"care": person(1)}


@pytest.fixture
def serve(make_scene, tmp_path, reported):
    with served(make_scene, tmp_path / "console", demo=True) as found:
        yield found


def begin(page, origin):
    """Open the form; its field has the focus by itself."""
    page.goto(f"{origin}/desk")
    page.wait_for_function("document.activeElement.id === 'identifier'")


def ask(page, origin, number):
    begin(page, origin)
    page.keyboard.type(number)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{origin}/desk/light/*")


@pytest.mark.parametrize(("language", "scheme"), [*product(("zh-TW", "en"), ("light", "dark"))])
def test_every_light_in_every_look(serve, chromium, reported, language, scheme):
    _, origin = serve
    for width in WIDTHS:
        context = chromium.new_context(
            ignore_https_errors=True, reduced_motion="reduce", locale=language, color_scheme=scheme,
            viewport={"width": width, "height": 900},
        )  # fmt: skip
        page, said = watched(context)
        sign_in(page, origin, "dora")
        page.goto(f"{origin}/desk")
        keep(page, f"desk-{language}-{scheme}-{width}")
        check_look(page, ("desk", width))
        for name in ("red", "yellow", "green", "care"):
            ask(page, origin, reported[name])
            keep(page, f"light-{name}-{language}-{scheme}-{width}")
            check_look(page, (name, width))
            assert page.locator(f"section.light.{'yellow' if name == 'care' else name}").count()
            # The first answer is seen without scrolling.
            assert page.locator("h1").bounding_box()["y"] < 900
        begin(page, origin)
        page.keyboard.type("A123456788")
        page.keyboard.press("Enter")
        page.wait_for_selector("[role=alert]")
        keep(page, f"desk-refused-{language}-{scheme}-{width}")
        check_look(page, ("refused", width))
        assert [line for line in said if "422" not in line] == []
        context.close()


def test_grey_where_a_source_is_too_old(serve, chromium, reported):
    scene, origin = serve
    scene.town.clock.advance(2 * 86_400 + 60)
    context = chromium.new_context(
        ignore_https_errors=True, reduced_motion="reduce", locale="zh-TW"
    )
    page, said = watched(context)
    sign_in(page, origin, "dora")
    ask(page, origin, reported["green"])
    assert "灰燈" in page.inner_text("main")
    keep(page, "light-grey-zh-TW")
    check_look(page, "grey")
    assert said == []


def test_number_is_nowhere_but_in_the_field(serve, chromium, reported):
    _, origin = serve
    context = chromium.new_context(ignore_https_errors=True, reduced_motion="reduce", locale="en")
    page, _ = watched(context)
    addresses = []
    page.on("request", lambda request: addresses.append(request.url))
    sign_in(page, origin, "dora")
    ask(page, origin, reported["red"])
    kept = page.evaluate(
        "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, document.title,"
        " document.documentElement.outerHTML, history.length, location.href])"
    )
    for text in (kept, *addresses):
        assert reported["red"] not in text
        assert reported["red"].replace("-", "") not in text


def test_desk_works_without_javascript(serve, chromium, reported):
    _, origin = serve
    context = chromium.new_context(
        ignore_https_errors=True, reduced_motion="reduce", java_script_enabled=False, locale="en"
    )
    page, _ = watched(context)
    sign_in(page, origin, "dora")
    page.goto(f"{origin}/desk")
    page.fill("#identifier", reported["yellow"])
    page.check("input[name=purpose][value=call_centre]")
    page.click("form[action='/desk'] button")
    assert "YELLOW" in page.inner_text("main")
    assert page.is_hidden("[data-print]")
    page.click("text=Next customer")
    assert page.is_checked("input[name=purpose][value=call_centre]")


def test_slip_is_printed_without_what_belongs_to_the_screen(serve, chromium, reported):
    _, origin = serve
    context = chromium.new_context(
        ignore_https_errors=True, reduced_motion="reduce", locale="zh-TW"
    )
    page, _ = watched(context)
    sign_in(page, origin, "dora")
    ask(page, origin, reported["red"])
    page.emulate_media(media="print")
    keep(page, "slip-zh-TW")
    assert page.is_visible("text=查詢編號")
    assert page.is_visible("text=紅燈")
    assert page.is_hidden("nav")
    assert page.is_hidden("text=下一位")


def test_desk_is_a_few_kilobytes(serve, chromium):
    _, origin = serve
    context = chromium.new_context(
        ignore_https_errors=True, reduced_motion="reduce", locale="zh-TW"
    )
    page, _ = watched(context)
    sizes = {}

    def note(request):
        sizes[request.url] = sum(request.sizes().values())

    page.on("requestfinished", note)
    sign_in(page, origin, "dora")
    page.goto(f"{origin}/desk")
    page.wait_for_load_state("networkidle")
    needed = [url for url in sizes if "/static/" in url or url.endswith("/desk")]
    assert len(needed) > 3
    assert sum(sizes[url] for url in needed) < 30_000
