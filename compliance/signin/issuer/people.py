"""Who somebody at the issuer is here: an account it was bound to, or one that its groups make.

    bound      an approver, with a second person, has said that this subject opens this account
    managed    signin.json says which roles which groups have; the account is made at the first
               sign-in, follows the groups at every further one, and opens in no other way

Nobody is found by e-mail address or name: an issuer may give them to somebody else.

Source:
    OpenID Connect Core 1.0, section 5.7: only `iss` and `sub` together name a person.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from hashlib import sha256

from compliance.clock import Clock
from compliance.office.about import ISSUER_RULE, About
from compliance.office.office import Office
from compliance.policy.actors import StaffRole
from compliance.signin.entering import Entering
from compliance.signin.errors import SignInError
from compliance.signin.issuer.token import MAX_SUBJECT, Claims
from compliance.signin.settings import IssuerSettings
from compliance.signin.values import Identity, SignInStore
from compliance.staff.accounts import MAX_DISPLAY, Account, State, added, changed, checked_text
from compliance.staff.acting import Acting
from compliance.staff.changes import ACT, MATTER
from compliance.staff.errors import StaffError
from compliance.staff.passwords import PasswordHash
from compliance.staff.staff import DEFAULT_COST, Staff
from protocols.tlog.entry import Verb

_LETTERS = "abcdefghijklmnop"
_NAME_SIZE = 12


@dataclass(frozen=True, slots=True)
class People:
    """Finds, makes and changes the accounts of those whom an issuer names."""

    settings: IssuerSettings
    staff: Staff
    store: SignInStore
    entering: Entering
    clock: Clock
    _one: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def account_of(self, claims: Claims) -> Account:
        """Return the account that somebody's claims open.

        Raises:
            SignInError: none. StorageError: what has to be entered cannot be.
        """
        known = self.store.identity(self.settings.url, claims.subject)
        if known is not None and not known.is_managed:
            return self._found(known.account)
        if not self.settings.roles:
            raise SignInError("unbound", "nobody has bound this person to an account")
        roles = self._roles(claims)
        name = known.account if known is not None else _name(self.settings.url, claims.subject)
        if not roles:
            # Out of all groups: nothing that is open stays open.
            self.store.end_sessions(name)
            raise SignInError("no_role", "no group of this person has a role")
        with self._one:
            account = self._managed(name, roles, claims)
        if known is None:
            now = self.clock.now()
            self.store.bind(
                Identity(self.settings.url, claims.subject, name, is_managed=True, bound=now)
            )
        return account

    def _found(self, name: str) -> Account:
        account = self.staff.find(name)
        if account is None:
            raise SignInError("unbound", "the account is gone")
        return account

    def _roles(self, claims: Claims) -> frozenset[StaffRole]:
        groups = claims.texts(self.settings.groups_claim)
        return frozenset(
            role for group in groups for role in self.settings.roles.get(group, frozenset())
        )

    def _managed(self, name: str, roles: frozenset[StaffRole], claims: Claims) -> Account:
        """Make an account, or give it the roles of now; entered before it is changed."""
        if not self.staff.is_set_up:
            raise SignInError("set_up", "the first two accounts are made at the command line")
        with self.staff.exclusive() as (accounts, store):
            before, now = accounts.get(name), self.clock.now()
            if before is not None and before.roles == roles:
                return before
            try:
                if before is None:
                    account = Account(
                        name, _display(claims, name), roles, State.ACTIVE,
                        PasswordHash.of_nobody(DEFAULT_COST), created=now, changed=now,
                    )  # fmt: skip
                    found = added(accounts, account)
                else:
                    found = changed(accounts, name, now, roles=roles)
            except StaffError as error:
                raise SignInError("register", "the register does not take these roles") from error
            self.entering.done(ACT, found[name], "issuer", rule=ISSUER_RULE)
            store(found)
        return found[name]


def bind_identity(
    staff: Staff,
    store: SignInStore,
    office: Office,
    who: Acting,
    name: str,
    *,
    issuer: str,
    subject: str,
    reason: str,
) -> Identity:
    """Let somebody at an issuer open an account, as an approver says with a second person.

    Raises:
        StaffError: no such account, or its roles are the issuer's. NotPermittedError: as the
            policies say.
    """
    account = staff.find(name)
    if account is None:
        raise StaffError("account: there is none of this name; see `staff list`")
    if not 0 < len(subject) <= MAX_SUBJECT or not subject.isascii() or not subject.isprintable():
        raise StaffError(f"subject: must be 1 to {MAX_SUBJECT} printable ASCII characters")
    known = store.identity(issuer, subject)
    if known is not None and known.is_managed:
        raise StaffError("subject: has an account by its groups already; take roles out first")
    about = About(Verb.ALTER, MATTER, subject=f"account {name}", reason=checked_text(reason))
    shown = {"account": name, "issuer": issuer, "subject": subject, "reason": reason}
    who.perform(office, ACT, about, what=f"let the issuer open the account {name}", details=shown)
    identity = Identity(issuer, subject, name, is_managed=False, bound=office.clock.now())
    store.bind(identity)
    return identity


def unbind_identities(
    store: SignInStore, office: Office, who: Acting, name: str, *, reason: str
) -> int:
    """Let nobody at an issuer open an account any more; returns how many could.

    Raises: as `bind_identity`.
    """
    about = About(Verb.ALTER, MATTER, subject=f"account {name}", reason=checked_text(reason))
    who.perform(office, ACT, about, what=f"let no issuer open the account {name}")
    store.end_sessions(name)
    return store.unbind(name)


def _name(issuer: str, subject: str) -> str:
    """Name an account so that the name says nothing, and is the same at every sign-in.

    Letters alone: a name must not have nine digits in a row.
    """
    digest = sha256(issuer.encode() + b"\0" + subject.encode()).digest()[:_NAME_SIZE]
    letters = "".join(_LETTERS[byte >> 4] + _LETTERS[byte & 15] for byte in digest)
    return f"id-{letters}"


def _display(claims: Claims, otherwise: str) -> str:
    text = claims.text("name") or claims.text("preferred_username")
    kept = "".join(letter for letter in text.strip() if letter.isprintable())[:MAX_DISPLAY].strip()
    return kept or otherwise
