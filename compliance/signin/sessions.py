"""Sessions: begun when somebody has proved who it is, and ended by time, people or changes.

The cookie holds 256 random bits and the store their SHA-256 alone: whoever reads the store can
sign in as nobody. Each sign-in makes a new secret, so that one put into a browser beforehand
(session fixation) leads nowhere. What changes an account's roles, state or password ends all
its sessions at their next request, on whichever way it was changed.

Source:
    OWASP Session Management Cheat Sheet; NIST SP 800-63B-4, section 2.2.3: reauthentication
    at AAL2 after 12 hours, or 30 minutes of inactivity; these are shorter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from compliance.signin.register import Register, stamp_of
from compliance.signin.values import Method, Session, SignInStore
from compliance.staff.accounts import Account

SECRET_SIZE = 32
MOST_EACH = 20
_TOUCH_S = 30
_BACK_S = 300
_SWEEP_S = 600


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a session lasts, in seconds.

    Args:
        idle: without a request. absolute: whatever happens.
        fresh: how long a proof counts for what needs a new one.
    """

    idle: int = 15 * 60
    absolute: int = 8 * 3_600
    fresh: int = 5 * 60


class Sessions:
    """The sessions of one organisation's staff."""

    def __init__(
        self,
        store: SignInStore,
        register: Register,
        *,
        random: Callable[[int], bytes],
        limits: Limits | None = None,
    ) -> None:
        self._store, self._register, self._random = store, register, random
        self.limits = limits or Limits()
        self._swept = 0

    def begin(self, account: Account, method: Method, *, now: int, device: str = "") -> bytes:
        """Begin a session and return its secret, which is kept nowhere here."""
        self._sweep(now)
        for old in self._store.sessions(account.name)[MOST_EACH - 1 :]:
            self._store.end_session(old.key)
        secret = self._random(SECRET_SIZE)
        session = Session(
            key_of(secret), account.name, stamp_of(account), method,
            created=now, seen=now, proved=now, device=device,
        )  # fmt: skip
        self._store.add_session(session)
        return secret

    def find(self, secret: bytes, *, now: int) -> tuple[Session, Account] | None:
        """Return a session and its account as it is now; one that has ended is forgotten."""
        session = self._store.session(key_of(secret))
        if session is None:
            return None
        account = self._register.find(session.account)
        if account is None or not self._lasts(session, account, now):
            self._store.end_session(session.key)
            return None
        if now - session.seen >= _TOUCH_S:
            self._store.touch(session.key, seen=now)
            session = replace(session, seen=now)
        return session, account

    def prove(self, session: bytes, *, now: int) -> None:
        """Remember that the person of a session proved anew who it is."""
        self._store.prove(session, proved=now)

    def is_fresh(self, proved: int, *, now: int) -> bool:
        """Report whether a proof of this time still counts for what needs a new one."""
        return 0 <= now - proved < self.limits.fresh

    def end(self, session: bytes) -> None:
        """End one session."""
        self._store.end_session(session)

    def end_all(self, account: str, *, but: bytes = b"") -> int:
        """End all sessions of an account, or all but one; returns how many."""
        return self._store.end_sessions(account, but=but)

    def of(self, account: Account, *, now: int) -> Sequence[Session]:
        """Return the sessions of an account that last, the one used last first."""
        return [
            session
            for session in self._store.sessions(account.name)
            if self._lasts(session, account, now)
        ]

    def _lasts(self, session: Session, account: Account, now: int) -> bool:
        return (
            account.is_active
            and session.stamp == stamp_of(account)
            and now - session.seen < self.limits.idle
            and now - session.created < self.limits.absolute
            # A clock that was set back would make every session last longer.
            and session.seen - now <= _BACK_S
        )

    def _sweep(self, now: int) -> None:
        if abs(now - self._swept) < _SWEEP_S:
            return
        self._swept = now
        limits = self.limits
        self._store.sweep(seen=now - limits.idle, created=now - limits.absolute, now=now)


def key_of(secret: bytes) -> bytes:
    """Return what a secret is known by; 256 random bits need no salt."""
    return sha256(secret).digest()
