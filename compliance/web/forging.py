"""Telling a form of ours, filled in by its reader, from one that another site sends.

Two checks, and both must hold. The browser says where a request comes from: Origin, or where
our own `Referrer-Policy: no-referrer` makes it send `Origin: null`, Sec-Fetch-Site. And every
form carries a token that only a page read with the reader's cookie can have: it is made from
the secret in the cookie, so that it changes when somebody signs in, and nothing is stored.

Source:
    Fetch, section "Origin header"; Fetch Metadata Request Headers; OWASP Cross-Site Request
    Forgery Prevention, "HMAC based token pattern".
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping

from compliance.web.errors import ForgedFormError

FIELD = "token"
_DOMAIN = b"lianfang/web/form-token/v1"


def form_token(secret: bytes) -> str:
    """Return what forms carry for the browser that holds this secret."""
    return hmac.digest(secret, _DOMAIN, "sha256").hex()


def check_form(
    headers: Mapping[str, str], origin: str, secrets: Iterable[bytes], sent: str
) -> None:
    """Refuse a form that does not come from a page of ours.

    Args:
        headers: of the request, by lower-case name.
        secrets: in the cookies of the request.
        sent: the token in the form.

    Raises:
        ForgedFormError: it does not.
    """
    told, site = headers.get("origin"), headers.get("sec-fetch-site")
    if site is not None and site != "same-origin":
        raise ForgedFormError("form: sent by another site")
    if told != origin and not (told in {None, "null"} and site == "same-origin"):
        raise ForgedFormError("form: not known to come from a page of this site")
    matches = [hmac.compare_digest(form_token(item).encode(), sent.encode()) for item in secrets]
    if not any(matches):
        raise ForgedFormError("form: without the token of this browser")
