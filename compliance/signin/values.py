"""What is kept of those who sign in: sessions, passkeys, identities of an issuer, challenges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Method(StrEnum):
    """How somebody proved who it is."""

    PASSWORD = "password"  # noqa: S105  the name of a method, no password
    PASSKEY = "passkey"
    ISSUER = "issuer"


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody that is signed in, in one browser.

    Args:
        key: SHA-256 of the secret in the cookie; the secret itself is nowhere.
        stamp: of the account as it was at sign-in; see `compliance.signin.register`.
        seen, proved: when it was used last, within a minute, and when the person last proved
            who it is; Unix seconds.
        device: the browser in one word or two, for its owner to tell sessions apart.
    """

    key: bytes = field(repr=False)
    account: str
    stamp: bytes = field(repr=False)
    method: Method
    created: int
    seen: int
    proved: int
    device: str = ""


@dataclass(frozen=True, slots=True)
class Passkey:
    """One passkey of an account.

    Args:
        id: of the credential; `handle` is the account's user handle, which says nothing.
        public_key: COSE. sign_count: what the authenticator last counted; 0 if it never does.
        name: what its owner calls it.
    """

    id: bytes = field(repr=False)
    account: str
    handle: bytes = field(repr=False)
    public_key: bytes = field(repr=False)
    sign_count: int
    name: str
    created: int
    used: int


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody at an issuer, and the account here that it opens.

    Args:
        subject: as the issuer names the person.
        is_managed: whether the issuer's groups say what roles the account has.
    """

    issuer: str
    subject: str = field(repr=False)
    account: str
    is_managed: bool
    bound: int


class SignInStore(Protocol):
    """Where all of it is kept.

    Durability: a change is on disk when its method returns, but for `touch`, which may be lost.
    Concurrency: any number of threads and processes; `take_challenge` gives a challenge to one
    caller only, and `count_passkey` lets one of two equal counters through.
    """

    def add_session(self, session: Session) -> None:
        """Keep a session."""

    def session(self, key: bytes) -> Session | None:
        """Return a session by its key."""

    def sessions(self, account: str) -> Sequence[Session]:
        """Return the sessions of an account, the newest first."""

    def touch(self, key: bytes, *, seen: int) -> None:
        """Remember when a session was used."""

    def prove(self, key: bytes, *, proved: int) -> None:
        """Remember that somebody proved anew who it is."""

    def end_session(self, key: bytes) -> None:
        """Forget a session, if it is there."""

    def end_sessions(self, account: str, *, but: bytes = b"") -> int:
        """Forget all sessions of an account but one; returns how many."""

    def sweep(self, *, seen: int, created: int, now: int) -> None:
        """Forget sessions not used since `seen` or begun before `created`, and old challenges."""

    def add_passkey(self, passkey: Passkey) -> bool:
        """Keep a passkey; False if there is one of this id."""

    def passkey(self, number: bytes) -> Passkey | None:
        """Return a passkey by its id."""

    def passkeys(self, account: str) -> Sequence[Passkey]:
        """Return the passkeys of an account, the oldest first."""

    def count_passkey(self, number: bytes, *, before: int, after: int, now: int) -> bool:
        """Move the counter of a passkey on from `before`; False if it stands elsewhere."""

    def remove_passkey(self, account: str, number: bytes) -> bool:
        """Forget a passkey of an account; False if it has none of this id."""

    def bind(self, identity: Identity) -> None:
        """Keep an identity; one of the same issuer and subject is replaced."""

    def identity(self, issuer: str, subject: str) -> Identity | None:
        """Return who somebody at an issuer is here."""

    def identities(self, account: str) -> Sequence[Identity]:
        """Return the identities that open an account."""

    def unbind(self, account: str) -> int:
        """Forget all identities of an account; returns how many."""

    def add_challenge(self, key: bytes, value: bytes, *, until: int, most: int) -> bool:
        """Keep what an answer will be compared with, in place of one of the same key.

        Returns:
            False if there are `most` of them already.
        """

    def take_challenge(self, key: bytes, *, now: int) -> bytes | None:
        """Return what was kept under a key and forget it; None if it is gone or too old."""
