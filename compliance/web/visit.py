"""One request as a page sees it: who asks, in which language, with which form; and answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from compliance.policy.actors import StaffRole
from compliance.web.errors import UnreadableError
from compliance.web.forging import form_token
from compliance.web.languages import Language

if TYPE_CHECKING:
    from compliance.web.site import Site

SEE_OTHER = 303
_SAID = "said."


@dataclass(frozen=True, slots=True)
class Known:
    """Whoever is signed in.

    Args:
        account, display: the account's name, and the person's as colleagues see it.
        session: what the doorkeeper knows the session by; no secret.
        proved: when the person last proved who it is, Unix seconds.
    """

    account: str
    display: str = field(repr=False)
    roles: frozenset[StaffRole]
    session: bytes = field(repr=False)
    proved: int


class Doorkeeper(Protocol):
    """Knows who is signed in."""

    def known(self, secret: bytes, now: int) -> Known | None:
        """Return who holds this secret; None if nobody does, or does no more."""
        ...

    def is_fresh(self, known: Known, now: int) -> bool:
        """Report whether somebody proved who it is a short while ago."""
        ...


@dataclass(slots=True)
class Visit:
    """One request.

    Args:
        known: whoever is signed in, or None.
        secret: in the cookie of the session or the browser; made for this answer if new.
        is_new: whether the browser is to be given the cookie.
        form: the fields of the form; empty for GET.
    """

    site: Site
    request: Request
    language: Language
    known: Known | None
    secret: bytes = field(repr=False)
    is_new: bool
    now: int
    form: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def token(self) -> str:
        """Return what forms carry on this page."""
        return form_token(self.secret)

    @property
    def person(self) -> Known:
        """Return whoever is signed in, on a page for which somebody must be."""
        if self.known is None:
            raise RuntimeError("visit: the page lets in people who are not signed in")
        return self.known

    @property
    def path(self) -> str:
        """Return the address of this page with its query, as a link of ours has it."""
        query = self.request.url.query
        return f"{self.request.url.path}?{query}" if query else self.request.url.path

    @property
    def source(self) -> str:
        """Return the network address that asks, as far as it is known."""
        return self.site.source_of(self.request)

    @property
    def wants_json(self) -> bool:
        """Whether the answer is for a program."""
        accept = self.request.headers.get("accept", "")
        return "json" in accept and "text/html" not in accept

    def text(self, key: str, **values: object) -> str:
        """Return a text in the reader's language."""
        return self.site.catalogue.text(self.language, key, **values)

    def field(self, name: str, *, most: int = 300) -> str:
        """Return a field of the form.

        Raises:
            UnreadableError: it is missing, or longer than the page lets anybody type.
        """
        value = self.form.get(name)
        if value is None or len(value) > most:
            raise UnreadableError(f"form: {name} is missing or too long")
        return value

    def number(self, name: str, *, default: int = 1, most: int = 1_000_000) -> int:
        """Return a whole number from the query, at least 1; the default where it is none."""
        text = self.request.query_params.get(name, "")
        is_number = text.isascii() and text.isdecimal() and len(text) < len(str(most)) + 1
        return min(max(int(text), 1), most) if is_number else default

    def render(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """Answer with a page."""
        return HTMLResponse(self.site.renderer.render(self, template, **values), status)

    def go(self, path: str, *, said: str = "") -> Response:
        """Send the reader on to another page of ours after a form.

        Args:
            said: the key of what to say there, without the `said.` before it.
        """
        address = f"{path}{'&' if '?' in path else '?'}said={said}" if said else path
        return RedirectResponse(address, SEE_OTHER)

    def forward(self, address: str) -> Response:
        """Send the reader on by the page itself, not by the answer.

        A page of ours then leads there: to an address of ours the cookie of the session goes
        along, and an address elsewhere is not held against `form-action 'self'`.
        """
        return self.render("forward.html", address=address)

    def json(self, value: object, *, status: int = 200) -> Response:
        """Answer a program."""
        return JSONResponse(value, status)

    @property
    def said(self) -> str:
        """Return what was done just before, in words; empty if nothing was."""
        key = _SAID + self.request.query_params.get("said", "")
        return self.text(key) if self.site.catalogue.has(key) else ""

    def own_path(self, value: str) -> str:
        """Return an address to go back to, if it is one of our pages to look at; else the first."""
        return value if self.site.shows(value) else "/"
