"""The three cookies of a site: who is signed in, whose browser it is, which language.

All have the prefix `__Host-`: this host alone, HTTPS alone, no other host may set them. Ports
share cookies, so their names carry the organisation's: a hub and a node on one machine do not
sign each other out.

Source:
    RFC 6265bis, sections 4.1.3.2 (`__Host-`) and 4.1.2.7 (SameSite).
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

SECRET_SIZE = 32
_YEAR_S = 365 * 86_400
_MOST = 100


@dataclass(frozen=True, slots=True)
class Cookies:
    """Names and attributes of one site's cookies.

    All are Strict: no link of another site uses them. How such a link still arrives, and an
    issuer's answer with it, stands in `compliance.web.site`.
    """

    name: str

    @property
    def session(self) -> str:
        """Name the cookie of who is signed in."""
        return f"__Host-lianfang-{self.name}-session"

    @property
    def browser(self) -> str:
        """Name the cookie of a browser in which nobody is signed in."""
        return f"__Host-lianfang-{self.name}-browser"

    @property
    def language(self) -> str:
        """Name the cookie of the chosen language."""
        return f"__Host-lianfang-{self.name}-language"

    def read(self, request: Request, name: str) -> bytes | None:
        """Return the secret in a cookie; None where there is none."""
        value = request.cookies.get(name, "")
        if not value or len(value) > _MOST:
            return None
        try:
            found = base64.urlsafe_b64decode(value.encode("ascii") + b"=")
        except (ValueError, binascii.Error):
            return None
        return found if len(found) == SECRET_SIZE else None

    def put_session(self, response: Response, secret: bytes) -> None:
        """Hand over a session; it ends with the browser, and at the server long before."""
        self._put(response, self.session, _text(secret))
        self.drop(response, self.browser)

    def put_browser(self, response: Response, secret: bytes) -> None:
        """Hand over the secret of a browser."""
        self._put(response, self.browser, _text(secret))

    def put_language(self, response: Response, value: str) -> None:
        """Remember a language."""
        self._put(response, self.language, value, _YEAR_S)

    def drop(self, response: Response, name: str) -> None:
        """Have a cookie forgotten."""
        self._put(response, name, "", 0)

    def _put(self, response: Response, name: str, value: str, age_s: int | None = None) -> None:
        response.set_cookie(
            name, value, max_age=age_s, path="/", secure=True, httponly=True, samesite="strict"
        )


def _text(secret: bytes) -> str:
    return base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
