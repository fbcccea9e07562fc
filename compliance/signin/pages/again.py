"""Proving anew who one is, for what needs a proof from the last minutes."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from compliance.signin.pages.door import FAILURES, at, lead, title_of
from compliance.signin.passkeys import MAX_ANSWER
from compliance.signin.signin import SignIn
from compliance.signin.values import Session
from compliance.staff.accounts import Account
from compliance.staff.passwords import MAX_PASSWORD
from compliance.web.access import SIGNED_IN
from compliance.web.errors import ForbiddenError
from compliance.web.page import Page
from compliance.web.site import AGAIN
from compliance.web.visit import Visit

_REFUSED = 422  # the form was understood; what it says does not hold


@dataclass(frozen=True, slots=True)
class AgainPages:
    """The pages on which somebody that is signed in proves it anew."""

    door: SignIn

    def pages(self) -> list[Page]:
        """Return them."""
        found = [
            Page(AGAIN, SIGNED_IN, show=self._show, act=self._password),
            Page(f"{AGAIN}/passkey/options", SIGNED_IN, act=self._options),
            Page(f"{AGAIN}/passkey", SIGNED_IN, act=self._passkey),
        ]
        if self.door.issuer is not None:
            found.append(Page(f"{AGAIN}/issuer", SIGNED_IN, act=self._issuer))
        return found

    def _show(self, visit: Visit) -> Response:
        return self._page(visit, visit.own_path(visit.request.query_params.get("next", "/")))

    def _page(self, visit: Visit, path: str, *, trouble: str = "", status: int = 200) -> Response:
        store, name = self.door.store, visit.person.account
        is_managed = any(item.is_managed for item in store.identities(name))
        return visit.render(
            "again.html", status=status, path=path, trouble=trouble,
            local=self.door.local and not is_managed,
            has_passkey=bool(store.passkeys(name)),
            issuer=title_of(self.door) if store.identities(name) else "",
        )  # fmt: skip

    def _password(self, visit: Visit) -> Response:
        return self._prove(visit, password=visit.field("password", most=4 * MAX_PASSWORD))

    def _passkey(self, visit: Visit) -> Response:
        return self._prove(visit, answer=visit.field("credential", most=MAX_ANSWER))

    def _prove(self, visit: Visit, *, password: str = "", answer: str = "") -> Response:
        path = visit.own_path(visit.form.get("next", "/"))
        session, account = mine(self.door, visit)
        try:
            self.door.prove(session, account, at(visit), password=password, answer=answer)
        except FAILURES:
            return self._page(visit, path, trouble="again.failed", status=_REFUSED)
        return visit.go(path)

    def _options(self, visit: Visit) -> Response:
        name = visit.person.account
        return visit.json(self.door.passkeys.ask(visit.secret, now=visit.now, account=name))

    def _issuer(self, visit: Visit) -> Response:
        return lead(self.door, visit, visit.own_path(visit.form.get("next", "/")), again=True)


def mine(door: SignIn, visit: Visit) -> tuple[Session, Account]:
    """Return the session and the account of whoever is signed in.

    Raises:
        ForbiddenError: they ended in this very moment.
    """
    session = door.store.session(visit.person.session)
    account = door.register.find(visit.person.account)
    if session is None or account is None:
        raise ForbiddenError("session: ended")
    return session, account
