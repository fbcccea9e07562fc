"""Signing in and out: by password, by passkey, by the issuer."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from compliance.signin.errors import IssuerError, SignInError
from compliance.signin.issuer.flow import CALLBACK, Returned
from compliance.signin.pages.device import device_of
from compliance.signin.passkeys import MAX_ANSWER
from compliance.signin.signin import From, SignIn
from compliance.signin.values import Method
from compliance.staff.accounts import Account
from compliance.staff.errors import CredentialsError
from compliance.staff.passwords import MAX_PASSWORD
from compliance.web.access import EVERYBODY, SIGNED_IN
from compliance.web.page import Page
from compliance.web.site import AGAIN, SIGN_IN
from compliance.web.visit import Visit

_REFUSED = 422  # the form was understood; what it says does not hold
_UNAVAILABLE = 503
# Nobody types more; what is longer is no password of ours and is not hashed.
_MOST_TYPED = 4 * MAX_PASSWORD
FAILURES = (CredentialsError, SignInError)


@dataclass(frozen=True, slots=True)
class DoorPages:
    """The pages at the door."""

    door: SignIn

    def pages(self) -> list[Page]:
        """Return them."""
        found = [
            Page(SIGN_IN, EVERYBODY, show=self._show, act=self._password),
            Page("/signin/passkey/options", EVERYBODY, act=self._options),
            Page("/signin/passkey", EVERYBODY, act=self._passkey),
            Page("/signout", SIGNED_IN, act=self._out),
        ]
        if self.door.issuer is not None:
            found += [
                Page("/signin/issuer", EVERYBODY, act=self._lead),
                Page(CALLBACK, EVERYBODY, show=self._back, from_elsewhere=True),
            ]
        return found

    def _show(self, visit: Visit) -> Response:
        path = visit.own_path(visit.request.query_params.get("next", "/"))
        return visit.go(path) if visit.known is not None else self._page(visit, path)

    def _page(self, visit: Visit, path: str, *, trouble: str = "", status: int = 200) -> Response:
        return visit.render(
            "signin.html", status=status, path=path, trouble=trouble,
            local=self.door.local, issuer=title_of(self.door),
        )  # fmt: skip

    def _password(self, visit: Visit) -> Response:
        name, path = visit.field("account"), visit.own_path(visit.form.get("next", "/"))
        password = visit.field("password", most=_MOST_TYPED)
        try:
            secret = self.door.by_password(name, password, at(visit))
        except FAILURES:
            return self._page(visit, path, trouble="signin.failed", status=_REFUSED)
        return self._in(visit, secret, path)

    def _options(self, visit: Visit) -> Response:
        return visit.json(self.door.passkeys.ask(visit.secret, now=visit.now))

    def _passkey(self, visit: Visit) -> Response:
        path = visit.own_path(visit.form.get("next", "/"))
        answer = visit.field("credential", most=MAX_ANSWER)
        try:
            secret = self.door.by_passkey(answer, at(visit))
        except FAILURES:
            return self._page(visit, path, trouble="signin.failed_passkey", status=_REFUSED)
        return self._in(visit, secret, path)

    def _lead(self, visit: Visit) -> Response:
        return lead(self.door, visit, visit.own_path(visit.form.get("next", "/")))

    def _back(self, visit: Visit) -> Response:
        query = visit.request.query_params
        # A field that comes twice could be read in two ways.
        fields = dict(query) if len(query.multi_items()) == len(query) else {}
        try:
            account, back = self.door.returned(fields, at(visit))
        except SignInError:
            return self._page(visit, "/", trouble="signin.failed_issuer", status=_REFUSED)
        except IssuerError:
            return self._page(visit, "/", trouble="signin.no_issuer", status=_UNAVAILABLE)
        path = visit.own_path(back.path)
        if back.again:
            return self._proved(visit, account, back)
        return self._in(visit, self.door.by_issuer(account, at(visit)), path)

    def _proved(self, visit: Visit, account: Account, back: Returned) -> Response:
        """Take a new proof by the issuer, if it is of whoever is signed in."""
        known = visit.known
        found = None if known is None else self.door.store.session(known.session)
        if known is None or found is None or known.account != account.name:
            return visit.go(AGAIN)
        self.door.proved(found, account, Method.ISSUER, at(visit))
        return visit.go(visit.own_path(back.path))

    def _in(self, visit: Visit, secret: bytes, path: str) -> Response:
        if visit.known is not None:
            self.door.sessions.end(visit.known.session)
        response = visit.go(path)
        visit.site.cookies.put_session(response, secret)
        return response

    def _out(self, visit: Visit) -> Response:
        session = self.door.store.session(visit.person.session)
        account = self.door.register.find(visit.person.account)
        response = visit.go(SIGN_IN, said="signed_out")
        visit.site.cookies.drop(response, visit.site.cookies.session)
        if session is not None and account is not None:
            self.door.sign_out(session, account)
        return response


def at(visit: Visit) -> From:
    """Return where a visit comes from."""
    agent = visit.request.headers.get("user-agent", "")
    return From(visit.secret, visit.source, device_of(agent), visit.now)


def lead(door: SignIn, visit: Visit, path: str, *, again: bool = False) -> Response:
    """Lead a browser to the issuer."""
    if door.issuer is None:
        raise IssuerError("issuer: none is configured")
    address = door.issuer.begin(visit.secret, path=path, again=again, now=visit.now)
    return visit.forward(address)


def title_of(door: SignIn) -> str:
    """Return what the issuer's button says; empty where there is none."""
    return "" if door.issuer is None else door.issuer.settings.title
