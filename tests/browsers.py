"""Browsers without JavaScript for the screens, and people who sign in with them."""

import asyncio
import random
import re
from dataclasses import dataclass, field
from html import unescape

import httpx

from compliance.policy.actors import StaffRole
from compliance.staff.accounts import Account, State
from compliance.staff.passwords import Cost, PasswordHash
from compliance.staff.staff import Staff

CHEAP = Cost(memory_kib=64, passes=1, lanes=1)
# 02:00 UTC is ten in the morning where the staff works.
NOW = 1_800_064_800
PASSWORD = "a long enough secret of {}"
ORIGIN = "https://localhost:9446"
STAFF = {
    "dora": "desk", "anna": "analyst", "paul": "operator", "amy": "approver", "otto": "compliance",
}  # fmt: skip


@dataclass
class Browser:
    """What a browser without JavaScript does: keeps cookies, sends forms, says where it was."""

    app: object
    address: str = "203.0.113.7"
    cookies: dict = field(default_factory=dict)
    page: str = ""
    language: str = "en"

    def get(self, path, site="same-origin", **headers):
        return self._send("GET", path, {"sec-fetch-site": site, **headers})

    def post(self, path, fields=None, *, token=None, **headers):
        """Send a form as a page of ours does, with the token of the last page."""
        told = {"origin": "null", "sec-fetch-site": "same-origin"}
        found = {"token": self.token if token is None else token, **(fields or {})}
        return self._send("POST", path, told | headers, data=found)

    @property
    def token(self):
        found = re.search(r'name="token" value="([0-9a-f]+)"', self.page)
        return found[1] if found else ""

    def sign_in(self, name, password=None, **fields):
        self.get("/signin")
        secret = PASSWORD.format(name) if password is None else password
        return self.post("/signin", {"account": name, "password": secret, "next": "/"} | fields)

    def options(self, path):
        answer = self.post(path, accept="application/json")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def copy(self):
        """The same cookies elsewhere: a thief."""
        return Browser(self.app, self.address, dict(self.cookies), self.page)

    def _send(self, method, path, headers, **more):
        fields = {"accept": "text/html", "accept-language": self.language, "user-agent": AGENT}
        fields |= {"cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items())}
        given = {k.replace("_", "-"): v for k, v in headers.items() if v is not None}
        if headers.get("sec-fetch-site") == "cross-site":
            fields.pop("cookie")  # all of ours are Strict

        async def send():
            transport = httpx.ASGITransport(
                self.app, raise_app_exceptions=False, client=(self.address, 1)
            )
            async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
                return await client.request(method, path, headers=fields | given, **more)

        answer = asyncio.run(send())
        for line in answer.headers.get_list("set-cookie"):
            self._keep(line)
        if answer.headers.get("content-type", "").startswith("text/html"):
            self.page = unescape(answer.text)
        return answer

    def _keep(self, line):
        name, _, rest = line.partition("=")
        value, _, attributes = rest.partition(";")
        assert name.startswith("__Host-lianfang-insurer-")
        for needed in ("HttpOnly", "Path=/", "SameSite=strict", "Secure"):
            assert needed in attributes, line
        assert "Domain" not in attributes
        if "Max-Age=0" in attributes:
            self.cookies.pop(name, None)
        else:
            self.cookies[name] = value


AGENT = "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML) Chrome/156.0 Safari/537.36"


def hired(root, people=STAFF, now=NOW):
    """Put accounts into the register, as if they had been decided about."""
    staff = Staff(root, cost=CHEAP)
    with staff.exclusive() as (accounts, store):
        made = {
            name: Account(
                name, name.title(), frozenset(StaffRole(role) for role in roles.split()),
                State.ACTIVE,
                PasswordHash.of(PASSWORD.format(name), CHEAP, random.Random(1).randbytes),
                now, now,
            )
            for name, roles in people.items()
        }  # fmt: skip
        store({**accounts, **made})
    return staff
