"""Changes of accounts, each decided by the policies and entered into the log before it is made.

    decide -> enter durably -> replace accounts.json

all under the lock of the accounts, so that what was decided about is what is changed. The two
accounts of the set-up are added without anybody, since nobody is there: their entries name
the rule `staff.set-up` as what decided, and not a policy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from compliance.configuration import ConfigError
from compliance.office.about import SET_UP_RULE, About
from compliance.office.office import Office
from compliance.policy.actors import StaffRole
from compliance.staff.accounts import (
    SET_UP,
    Account,
    State,
    added,
    changed,
    check_display,
    check_name,
    check_roles,
    checked_text,
)
from compliance.staff.acting import Acting, person_of
from compliance.staff.passwords import PasswordHash, check_new_password
from compliance.staff.staff import Staff
from protocols.tlog.entry import Verb

MATTER = "staff"
ACT = "grant_role"


def add_account(
    staff: Staff,
    office: Office,
    who: Acting,
    name: str,
    *,
    display: str,
    roles: Iterable[StaffRole],
    password: str,
    reason: str,
) -> Account:
    """Add an account; the first two of a directory by the set-up rule, if nobody is named.

    Raises:
        MalformedMessageError: a name, password or role cannot be taken.
        StaffError, NotPermittedError: a rule, or the policies, say no.
    """
    check_name(name)
    check_new_password(password, account=name)
    now = office.clock.now()
    account = Account(
        name, check_display(display), check_roles(roles), State.ACTIVE, staff.hash_of(password),
        created=now, changed=now,
    )  # fmt: skip
    about = _about(name, reason)
    with staff.exclusive() as (accounts, store):
        found = added(accounts, account)
        if len(accounts) < SET_UP and not who.account:
            _set_up(office, account, about)
        else:
            what = f"add the account {name} as {_words(account.roles)}"
            _ask(office, who, about, what)
        store(found)
    return account


def grant_roles(
    staff: Staff, office: Office, who: Acting, name: str, roles: Iterable[StaffRole], *, reason: str
) -> Account:
    """Give an account these roles instead of those that it has.

    Raises: as `add_account`.
    """
    wanted = check_roles(roles)
    what = f"give the account {name} the roles {_words(wanted)}"
    return _change(staff, office, who, name, what=what, reason=reason, roles=wanted)


def suspend_account(
    staff: Staff, office: Office, who: Acting, name: str, *, reason: str, lift: bool = False
) -> Account:
    """Let an account act no more, or again.

    Raises: as `add_account`.
    """
    state = State.ACTIVE if lift else State.SUSPENDED
    what = f"{'let the account act again' if lift else 'suspend the account'}: {name}"
    return _change(staff, office, who, name, what=what, reason=reason, state=state)


def reset_password(
    staff: Staff, office: Office, who: Acting, name: str, password: str, *, reason: str
) -> Account:
    """Give somebody else's account a new password: who does may act in its name.

    Raises: as `add_account`.
    """
    check_new_password(password, account=name)
    what = f"reset the password of the account {name}"
    found = _change(
        staff, office, who, name, what=what, reason=reason, password=staff.hash_of(password)
    )
    staff.attempts.clear(name)
    return found


def change_own_password(staff: Staff, who: Acting, password: str, *, now: int) -> Account:
    """Change the password of who acts; it changes nothing that anybody may do, and no entry.

    Raises:
        MalformedMessageError: it cannot be taken. ConfigError: no person acts.
    """
    if not who.account:
        raise ConfigError("password: say whose it is with --as")
    check_new_password(password, account=who.account)
    fresh: PasswordHash = staff.hash_of(password)
    with staff.exclusive() as (accounts, store):
        found = changed(accounts, who.account, now, password=fresh)
        store(found)
    return found[who.account]


def _change(
    staff: Staff,
    office: Office,
    who: Acting,
    name: str,
    *,
    what: str,
    reason: str,
    **changes: object,
) -> Account:
    with staff.exclusive() as (accounts, store):
        found = changed(accounts, name, office.clock.now(), **changes)
        _ask(office, who, _about(name, reason), what)
        store(found)
    return found[name]


def _ask(office: Office, who: Acting, about: About, what: str) -> None:
    """Have a change decided and entered; an organisation's program is refused like anybody."""
    who.perform(office, ACT, about, what=what)


def _set_up(office: Office, account: Account, about: About) -> None:
    """Enter an account of the set-up, which no policy can permit, under the rule that does."""
    if not about.reason.strip():
        raise ConfigError("--reason: say why; it is kept with the entry")
    decision = office.decide(
        ACT,
        by=person_of(office, account),
        facts=Acting(office.own, None).facts(office, reason=about.reason),
    )
    by_rule = replace(decision, allowed=True, policies=(SET_UP_RULE,), errors=())
    office.enter(by_rule, about)


def _about(name: str, reason: str) -> About:
    return About(Verb.ALTER, MATTER, subject=f"account {name}", reason=checked_text(reason))


def _words(roles: Iterable[StaffRole]) -> str:
    return ", ".join(sorted(roles))
