"""A site: its pages, and what happens to every request before a page sees it.

    head -> host -> form -> who -> is the form ours -> may they -> is the proof fresh -> page

A page is a value (`compliance.web.page`), and every route is made from one, so that none can
lack a rule. `Site.pages` is what the matrix of routes and roles is generated from.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp

from compliance.agreement.vocabulary import Title
from compliance.clock import Clock
from compliance.web.access import EVERYBODY
from compliance.web.answering import answer_error, answer_status
from compliance.web.bodies import read_form
from compliance.web.cookies import SECRET_SIZE, Cookies
from compliance.web.errors import KNOWN, ForbiddenError, UnreadableError, status_of
from compliance.web.forging import FIELD, check_form
from compliance.web.headers import SafeHeaders
from compliance.web.languages import Catalogue, Language, parse_language, preferred
from compliance.web.manners import Manners
from compliance.web.page import Handler, Page
from compliance.web.rendering import Renderer
from compliance.web.sources import Sources
from compliance.web.static import Static
from compliance.web.visit import Doorkeeper, Visit

_LOCAL = {"localhost", "127.0.0.1", "[::1]"}
SIGN_IN, AGAIN = "/signin", "/again"
_OURS = 500  # from here on, the mistake is on this side


@dataclass(frozen=True, slots=True)
class Link:
    """One entry of the navigation."""

    path: str
    text: str
    is_here: bool


class Site:
    """The screens of one organisation.

    Args:
        name: of the organisation, a-z, 0-9 and -; `title` is what its people call it.
        origin: scheme, host and port at which browsers reach it, and at no other.
        doorkeeper: knows who is signed in.
        pages: all of them but those of the toolkit.
        packages: with folders `templates` and `texts`, after the toolkit's own.
        random: `os.urandom` in production.
        demo: whether every page says that its data are made up.
    """

    def __init__(
        self,
        *,
        name: str,
        title: Title,
        origin: str,
        doorkeeper: Doorkeeper,
        pages: Iterable[Page],
        packages: Sequence[str],
        clock: Clock,
        random: Callable[[int], bytes],
        sources: Sources | None = None,
        demo: bool = False,
    ) -> None:
        self.name, self.title, self.origin, self.demo = name, title, origin, demo
        self.clock, self.doorkeeper = clock, doorkeeper
        self.cookies = Cookies(name)
        self.static = Static()
        self.catalogue = Catalogue((__package__, *packages))
        self.renderer = Renderer(self, (*reversed(packages), __package__))
        self.pages = (*pages, Page("/language", EVERYBODY, act=self._choose), self.static.page())
        self._random = random
        self._sources = sources or Sources()
        self._routes = [self._route(page) for page in self.pages]

    def app(self) -> ASGIApp:
        """Return the application, to be served over TLS alone."""
        handlers = dict.fromkeys((*KNOWN, HTTPException, Exception), self._fail)
        app = Starlette(routes=self._routes, exception_handlers=handlers)
        host = urlsplit(self.origin)
        mannered = Manners(app, host=host.netloc, refuse=self._refuse)
        return SafeHeaders(mannered, transport=host.hostname not in _LOCAL)

    def navigation(self, visit: Visit) -> list[Link]:
        """Return the pages that whoever is signed in can go to, in the order of the pages."""
        if visit.known is None:
            return []
        here, roles = visit.request.url.path, visit.known.roles
        return [
            Link(page.path, visit.text(page.menu), is_here=page.path == here)
            for page in self.pages
            if page.menu and page.access.admits(roles)
        ]

    def shows(self, path: str) -> bool:
        """Report whether an address is that of a page of ours that can be looked at."""
        parts = urlsplit(path) if path.startswith("/") and path.isascii() else None
        if parts is None or parts.scheme or parts.netloc or "\\" in path or path.startswith("//"):
            return False
        scope = {"type": "http", "method": "GET", "path": parts.path, "headers": []}
        return any(route.matches(scope)[0] is Match.FULL for route in self._routes)

    def source_of(self, request: Request) -> str:
        """Return the network address of whoever asks."""
        direct = request.client.host if request.client else ""
        return self._sources.of(direct, request.headers.getlist("x-forwarded-for"))

    def visit(self, request: Request, *, is_asked: bool = True) -> Visit:
        """Return a request as a visit, whoever it comes from.

        Args:
            is_asked: whether the doorkeeper is; where nothing can be read, nobody is known.
        """
        now = self.clock.now()
        secret = self.cookies.read(request, self.cookies.session)
        known = self.doorkeeper.known(secret, now) if is_asked and secret is not None else None
        if known is None:
            # A session that has ended is nobody's: what is begun next is bound to the browser.
            secret = self.cookies.read(request, self.cookies.browser)
        return Visit(
            self, request, self._language(request), known,
            secret=secret or self._random(SECRET_SIZE), is_new=secret is None, now=now,
        )  # fmt: skip

    def _route(self, page: Page) -> Route:
        async def answer(request: Request) -> Response:
            visit = await run_in_threadpool(self.visit, request)
            if request.method == "POST":
                return await self._act(page, visit)
            return await self._show(page, visit)

        return Route(page.path, answer, methods=list(page.methods), name=page.path)

    async def _show(self, page: Page, visit: Visit) -> Response:
        if visit.known is None and (page.access.signed_in or page.from_elsewhere):
            if visit.request.headers.get("sec-fetch-site") == "cross-site":
                # A link of another site brings no Strict cookie. The page that it gets here
                # leads to the same address again, and that is then a link of ours.
                return visit.forward(visit.path)
            if page.access.signed_in:
                return visit.go(f"{SIGN_IN}?next={quote(visit.path, safe='')}")
        self._admit(page, visit)
        assert page.show is not None  # noqa: S101  the route has no other method
        response = await _answer(page.show, visit)
        if visit.is_new and response.headers.get("content-type", "").startswith("text/html"):
            self.cookies.put_browser(response, visit.secret)
        return response

    async def _act(self, page: Page, visit: Visit) -> Response:
        visit.form = await read_form(visit.request)
        check_form(
            visit.request.headers, self.origin, self._secrets(visit.request),
            visit.form.get(FIELD, ""),
        )  # fmt: skip
        if page.access.signed_in and visit.known is None:
            return visit.go(SIGN_IN, said="ended")
        self._admit(page, visit)
        if page.fresh and not self.doorkeeper.is_fresh(visit.person, visit.now):
            back = visit.own_path(visit.form.get("back", page.path))
            return visit.go(f"{AGAIN}?next={quote(back, safe='')}")
        assert page.act is not None  # noqa: S101  the route has no other method
        return await _answer(page.act, visit)

    def _secrets(self, request: Request) -> list[bytes]:
        """Return the secrets in the cookies, that of a session that has ended included.

        Its page may still be open: whoever sends its form is told to sign in again.
        """
        names = (self.cookies.session, self.cookies.browser)
        found = [self.cookies.read(request, name) for name in names]
        return [secret for secret in found if secret is not None]

    def _admit(self, page: Page, visit: Visit) -> None:
        if not page.access.admits(None if visit.known is None else visit.known.roles):
            raise ForbiddenError("page: not for the roles of this account")

    def _language(self, request: Request) -> Language:
        chosen = parse_language(request.cookies.get(self.cookies.language, ""))
        return chosen or preferred(request.headers.get("accept-language", ""))

    def _choose(self, visit: Visit) -> Response:
        language = parse_language(visit.field("language"))
        if language is None:
            raise UnreadableError("form: no such language")
        response = visit.go(visit.own_path(visit.form.get("back", "/")))
        self.cookies.put_language(response, language)
        return response

    async def _fail(self, request: Request, error: Exception) -> Response:
        # The store of sessions may be what failed.
        is_asked = isinstance(error, HTTPException) or status_of(error)[0] < _OURS
        visit = await run_in_threadpool(self.visit, request, is_asked=is_asked)
        return answer_error(visit, error)

    def _refuse(self, request: Request, status: int, code: str) -> Response:
        return answer_status(self.visit(request), status, code)


async def _answer(handler: Handler, visit: Visit) -> Response:
    """Call a page, in a thread unless it waits by itself."""
    if inspect.iscoroutinefunction(handler):
        found = await handler(visit)
    else:
        found = await run_in_threadpool(handler, visit)
    assert isinstance(found, Response)  # noqa: S101  a handler that returns anything else is a mistake
    return found
