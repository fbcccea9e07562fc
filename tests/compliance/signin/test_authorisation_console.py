"""Every route of the console, called by every role and every kind of session that counts or not.

`authorisation-console.csv` has a line for each method and path and a column for each caller. It
is compared with the routes of the application: a route without a line fails here, and so does
a line without a route. Each cell is the status; `303 signin` leads to the door.

A table of what is answered at present is written beside the one that is compared, where the
variable LIANFANG_WRITE_TABLE names a file: to be read, line by line, before it is kept.
"""

import base64
import csv
import os
import random
from pathlib import Path

from compliance.policy.actors import StaffRole
from compliance.signin.pages.door import CALLBACK
from compliance.signin.values import Method
from compliance.web.forging import form_token

TABLE = Path(__file__).with_name("authorisation-console.csv")
BAD = ("no", "wrong", "expired", "revoked")
CALLERS = (*BAD, *StaffRole)
OF_ROLE = {"desk": "dora", "analyst": "anna", "operator": "paul", "approver": "amy",
           "compliance": "otto"}  # fmt: skip
# What a form needs to be one that the page takes, so that the answer is about who asks.
FORMS = {
    "/signin": {"account": "nobody", "password": "wrong"},
    "/signin/passkey": {"credential": "{}"},
    "/again": {"password": "wrong"},
    "/again/passkey": {"credential": "{}"},
    "/account/passkeys": {"credential": "{}", "name": ""},
    "/account/passkeys/remove": {"passkey": "AAAA"},
    "/language": {"language": "en"},
}


def routes(app):
    """The routes as the application itself has them, whatever made them."""
    inner = app
    while not hasattr(inner, "routes"):
        inner = inner._app
    return sorted(
        (method, route.path) for route in inner.routes for method in route.methods - {"HEAD"}
    )


def browser_of(scene, caller):
    """A browser with a session of this kind, which is used for one request."""
    browser, cookies, now = scene.browser(), scene.console.site.cookies, scene.clock.now()
    own, name = random.randbytes(32), OF_ROLE["approver" if caller in BAD else caller]
    browser.cookies = {cookies.browser: word(own)}
    secret, account = random.randbytes(32), scene.staff.find(name)
    if caller not in {"no", "wrong"}:
        begun = now - 15 * 60 if caller == "expired" else now
        secret = scene.door.sessions.begin(account, Method.PASSWORD, now=begun)
    if caller != "no":
        browser.cookies[cookies.session] = word(secret)
    if caller == "revoked":
        scene.door.sessions.end_all(name)
    browser.page = f'name="token" value="{form_token(own if caller in BAD else secret)}"'
    return browser


def word(secret):
    return base64.urlsafe_b64encode(secret).rstrip(b"=").decode()


def answered(scene, method, path):
    found = {}
    for caller in CALLERS:
        browser = browser_of(scene, caller)
        sent = path.replace("{name}", scene.console.site.static.path("style.css").split("/")[-1])
        answer = browser.get(sent) if method == "GET" else browser.post(sent, FORMS.get(path))
        where = answer.headers.get("location", "")
        led = " signin" if where.startswith(("/signin?next", "/signin?said=ended")) else ""
        found[caller] = f"{answer.status_code}{led}"
    return found


def expected():
    with TABLE.open(newline="") as file:
        return {(row.pop("method"), row.pop("path")): row for row in csv.DictReader(file)}


def test_every_route_has_a_line_and_every_line_a_route(with_issuer):
    assert routes(with_issuer.console.site.app()) == sorted(expected())
    assert ("GET", CALLBACK) in expected()


def test_every_route_answers_every_caller_as_the_table_says(with_issuer):
    found = {line: answered(with_issuer, *line) for line in routes(with_issuer.console.site.app())}
    if place := os.environ.get("LIANFANG_WRITE_TABLE"):
        with Path(place).open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["method", "path", *CALLERS])
            writer.writerows([*line, *cells.values()] for line, cells in found.items())
    table = expected()
    assert {line: cells for line, cells in found.items() if cells != table.get(line)} == {}


def test_nobody_without_a_session_gets_past_a_rule(with_issuer):
    table = expected()
    for page in with_issuer.console.site.pages:
        for method in page.methods:
            cells = table[method, page.path]
            if page.access.signed_in:
                assert {cells[caller] for caller in BAD} == {"303 signin"}, page.path
            for role in page.access.roles and StaffRole:
                may = page.access.admits({role})
                assert (cells[role] == "403") is not may, (page.path, role)
