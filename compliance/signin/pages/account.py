"""One's own account: roles, passkeys, and where one is signed in."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from compliance.signin.errors import SignInError
from compliance.signin.pages.again import mine
from compliance.signin.pages.door import at
from compliance.signin.passkeys import MAX_ANSWER, MAX_NAME, MOST_EACH, passkey_id, passkey_word
from compliance.signin.signin import SignIn
from compliance.web.access import SIGNED_IN
from compliance.web.page import Page
from compliance.web.visit import Visit

ACCOUNT = "/account"
_REFUSED = 422  # the form was understood; what it says does not hold


@dataclass(frozen=True, slots=True)
class AccountPages:
    """The pages of one's own account."""

    door: SignIn

    def pages(self) -> list[Page]:
        """Return them."""
        return [
            Page(ACCOUNT, SIGNED_IN, show=self._show, menu="menu.account"),
            Page(f"{ACCOUNT}/sessions/end", SIGNED_IN, act=self._end_others),
            Page(f"{ACCOUNT}/passkeys/options", SIGNED_IN, act=self._options, fresh=True),
            Page(f"{ACCOUNT}/passkeys", SIGNED_IN, act=self._add, fresh=True),
            Page(f"{ACCOUNT}/passkeys/remove", SIGNED_IN, act=self._remove, fresh=True),
        ]

    def _show(self, visit: Visit) -> Response:
        return self._page(visit)

    def _page(self, visit: Visit, *, trouble: str = "", status: int = 200) -> Response:
        session, account = mine(self.door, visit)
        held = self.door.store.passkeys(account.name)
        identities = self.door.store.identities(account.name)
        return visit.render(
            "account.html", status=status, trouble=trouble, account=account, session=session,
            sessions=self.door.sessions.of(account, now=visit.now),
            passkeys=[(passkey_word(item.id), item) for item in held],
            may_add=len(held) < MOST_EACH and not any(item.is_managed for item in identities),
            is_fresh=self.door.sessions.is_fresh(session.proved, now=visit.now),
            issuers=[item.issuer for item in identities], most_name=MAX_NAME,
            limits=self.door.sessions.limits,
        )  # fmt: skip

    def _end_others(self, visit: Visit) -> Response:
        self.door.end_others(*mine(self.door, visit))
        return visit.go(ACCOUNT, said="others_ended")

    def _options(self, visit: Visit) -> Response:
        _, account = mine(self.door, visit)
        return visit.json(self.door.passkey_options(account, at(visit)))

    def _add(self, visit: Visit) -> Response:
        _, account = mine(self.door, visit)
        answer = visit.field("credential", most=MAX_ANSWER)
        try:
            self.door.add_passkey(account, answer, visit.field("name", most=MAX_NAME), at(visit))
        except SignInError:
            return self._page(visit, trouble="account.passkey_failed", status=_REFUSED)
        return visit.go(ACCOUNT, said="passkey_added")

    def _remove(self, visit: Visit) -> Response:
        _, account = mine(self.door, visit)
        try:
            self.door.remove_passkey(account, passkey_id(visit.field("passkey", most=2_000)))
        except SignInError:
            return self._page(visit, trouble="account.passkey_gone", status=_REFUSED)
        return visit.go(ACCOUNT, said="passkey_removed")
