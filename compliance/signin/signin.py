"""Signing in, by whichever proof; proving anew; signing out. No HTTP, no terminal.

    source open? -> proof -> account may? -> entered durably -> session

Every proof that fails is entered too, and counts against its source; a wrong password counts
against its account as well (`compliance.staff.attempts`, which the command line uses too). To
whoever asks all failures are the same, after the same work: neither the answer nor its time
tells whether there is such an account.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from compliance.signin import entering as acts
from compliance.signin.entering import Entering
from compliance.signin.errors import CrowdedError, SignInError, SourceShutError
from compliance.signin.issuer.flow import Issuer, Returned
from compliance.signin.issuer.people import People
from compliance.signin.passkeys import Passkeys
from compliance.signin.register import Register
from compliance.signin.sessions import Sessions
from compliance.signin.values import Method, Passkey, Session, SignInStore
from compliance.staff.accounts import NAME, Account
from compliance.staff.attempts import Attempts
from compliance.staff.errors import CredentialsError

# A password costs 64 MiB while it is checked; more at once wait, and some seconds at most.
AT_ONCE = 4
PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class From:
    """Where an attempt comes from, and when.

    Args:
        secret: in the cookie of the browser. source: its network address, for counting.
    """

    secret: bytes = field(repr=False)
    source: str
    device: str
    now: int


@dataclass(frozen=True, slots=True)
class SignIn:
    """The door of one organisation.

    Args:
        local: whether local accounts may be opened by their password.
        issuer, people: None where no issuer is configured.
    """

    register: Register
    store: SignInStore
    sessions: Sessions
    passkeys: Passkeys
    entering: Entering
    sources: Attempts
    local: bool = True
    issuer: Issuer | None = None
    people: People | None = None
    _hashing: threading.BoundedSemaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(AT_ONCE), repr=False
    )

    def by_password(self, name: str, password: str, at: From) -> bytes:
        """Return the secret of a new session.

        Raises:
            CredentialsError: one answer for all failures. SourceShutError, CrowdedError: wait.
        """
        with self._counted(at):
            account = self._password(acts.SIGN_IN, name, password, at)
        return self._open(account, Method.PASSWORD, at)

    def by_passkey(self, answer: str, at: From) -> bytes:
        """Return the secret of a new session.

        Raises:
            SignInError: the proof does not hold, or the account may not. SourceShutError: wait.
        """
        with self._counted(at):
            account = self._passkey(acts.SIGN_IN, answer, at)
        return self._open(account, Method.PASSKEY, at)

    def returned(self, query: Mapping[str, str], at: From) -> tuple[Account, Returned]:
        """Return who came back from the issuer, to sign in or to prove it anew.

        Raises:
            SignInError: as `by_passkey`. IssuerError: the issuer cannot be reached.
        """
        if self.issuer is None or self.people is None:
            raise SignInError("issuer", "no issuer is configured")
        with self._counted(at):
            found: Account | None = None
            try:
                back = self.issuer.finish(at.secret, query, now=at.now)
                found = self.people.account_of(back.claims)
                self._check(found, Method.ISSUER)
            except SignInError as error:
                self.entering.refused(acts.SIGN_IN, found, Method.ISSUER, error.reason)
                raise
        return found, back

    def by_issuer(self, account: Account, at: From) -> bytes:
        """Return the secret of a new session for somebody that came back from the issuer."""
        return self._open(account, Method.ISSUER, at)

    def prove(
        self, session: Session, account: Account, at: From, *, password: str = "", answer: str = ""
    ) -> None:
        """Have somebody that is signed in prove anew who it is, by a password or a passkey.

        Raises:
            CredentialsError, SignInError, SourceShutError, CrowdedError: as for signing in.
        """
        with self._counted(at):
            if answer:
                method, found = Method.PASSKEY, self._passkey(acts.PROVE, answer, at)
            else:
                method = Method.PASSWORD
                found = self._password(acts.PROVE, account.name, password, at)
            if found.name != account.name:
                self.entering.refused(acts.PROVE, account, method, "other_account")
                raise SignInError("other_account", "the proof of another account")
        self.proved(session, account, method, at)

    def proved(self, session: Session, account: Account, method: Method, at: From) -> None:
        """Remember, and enter, that somebody proved anew who it is."""
        self.entering.done(acts.PROVE, account, method)
        self.sessions.prove(session.key, now=at.now)

    def sign_out(self, session: Session, account: Account) -> None:
        """End a session; it is over even where that cannot be entered."""
        self.sessions.end(session.key)
        self.entering.done(acts.SIGN_OUT, account, "session", count=1)

    def end_others(self, session: Session, account: Account) -> int:
        """End all other sessions of an account; returns how many."""
        count = self.sessions.end_all(account.name, but=session.key)
        self.entering.done(acts.END_SESSIONS, account, "session", count=count)
        return count

    def passkey_options(self, account: Account, at: From) -> dict[str, Any]:
        """Return what a browser needs to make a passkey for who is signed in.

        Raises:
            SignInError: the account may have none, or no more.
        """
        self._check(account, Method.PASSKEY)
        return self.passkeys.options(account, at.secret, now=at.now)

    def add_passkey(self, account: Account, answer: str, name: str, at: From) -> Passkey:
        """Keep a passkey that a browser has made.

        Raises:
            SignInError: it cannot be verified, is known already, or may not be.
        """
        try:
            self._check(account, Method.PASSKEY)
            made = self.passkeys.register(account, at.secret, answer, name, now=at.now)
        except SignInError as error:
            self.entering.refused(acts.ADD_PASSKEY, account, Method.PASSKEY, error.reason)
            raise
        self.entering.done(acts.ADD_PASSKEY, account, Method.PASSKEY, count=1)
        if not self.store.add_passkey(made):
            raise SignInError("passkey", "is registered already")
        return made

    def remove_passkey(self, account: Account, number: bytes) -> None:
        """Forget a passkey of an account.

        Raises:
            SignInError: it has none of this id.
        """
        if all(item.id != number for item in self.store.passkeys(account.name)):
            raise SignInError("passkey", "no such passkey")
        self.entering.done(acts.REMOVE_PASSKEY, account, Method.PASSKEY, count=1)
        self.store.remove_passkey(account.name, number)

    def _open(self, account: Account, method: Method, at: From) -> bytes:
        self.entering.done(acts.SIGN_IN, account, method)
        return self.sessions.begin(account, method, now=at.now, device=at.device)

    def _password(self, act: str, name: str, password: str, at: From) -> Account:
        if not self._hashing.acquire(timeout=PATIENCE_S):
            raise CrowdedError
        try:
            found = self.register.staff.verify(name, password, now=at.now)
            self._check(found, Method.PASSWORD)
        except (CredentialsError, SignInError) as error:
            known = self.register.find(name) if NAME.fullmatch(name) else None
            # Looked for under any name: an answer must not come later because there is one.
            shut = at.now < self.register.staff.attempts.shut_until(name)
            self.entering.refused(act, known, Method.PASSWORD, "shut" if shut else "credentials")
            raise CredentialsError from error
        finally:
            self._hashing.release()
        # Read anew: the password may have been hashed again under today's cost.
        return self.register.find(found.name) or found

    def _passkey(self, act: str, answer: str, at: From) -> Account:
        account: Account | None = None
        try:
            passkey = self.passkeys.verify(at.secret, answer, now=at.now)
            account = self._account(passkey)
            self._check(account, Method.PASSKEY)
        except SignInError as error:
            self.entering.refused(act, account, Method.PASSKEY, error.reason)
            raise
        return account

    def _account(self, passkey: Passkey) -> Account:
        found = self.register.find(passkey.account)
        if found is None:
            raise SignInError("passkey", "the account is gone")
        return found

    def _check(self, account: Account, method: Method) -> None:
        """Refuse an account that may not act, or not be opened in this way."""
        if not account.is_active:
            raise SignInError("suspended", "the account is suspended")
        if method is Method.ISSUER:
            return
        if any(item.is_managed for item in self.store.identities(account.name)):
            raise SignInError("managed", "this account opens by its issuer alone")
        if method is Method.PASSWORD and not self.local:
            raise SignInError("local", "local accounts are not allowed here")

    @contextmanager
    def _counted(self, at: From) -> Iterator[None]:
        """Count what happens inside against its source, unless it succeeds.

        Raises:
            SourceShutError: from there came too many failures; nothing is looked at.
        """
        wait_s = self.sources.shut_until(at.source) - at.now
        if wait_s > 0:
            raise SourceShutError(wait_s)
        self.sources.begin(at.source, exists=True, now=at.now)
        try:
            yield
        except (CredentialsError, SignInError):
            if self.sources.shut_until(at.source) > at.now:
                self.entering.refused(acts.SIGN_IN, None, "source", "source_shut")
            raise
        except BaseException:
            # Our own trouble is nobody's failure.
            self.sources.take_back(at.source, now=at.now)
            raise
        self.sources.take_back(at.source, now=at.now)
