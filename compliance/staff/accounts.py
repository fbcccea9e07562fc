"""Accounts as values: their names, roles and states, and the file that holds them all.

An account is never deleted: entries of the log name its pseudonym for years, and a name that
were given to somebody else would give them to somebody else too. Who leaves is suspended.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from compliance.agreement.fields import Fields, defect, read_matched, read_text
from compliance.policy.actors import StaffRole
from compliance.staff.errors import StaffError
from compliance.staff.passwords import PasswordHash
from protocols.codec import parse_json
from protocols.jcs import encode_jcs

FORMAT = "lianfang/staff/accounts/v1"
NAME = re.compile(r"(?!.*[0-9]{9})(?=.{1,32}\Z)[a-z0-9]+(?:-[a-z0-9]+)*", re.ASCII)
NAME_RULE = "1 to 32 of a-z, 0-9 and single '-', without nine digits in a row"
MAX_DISPLAY = 80
MAX_ACCOUNTS = 10_000
SET_UP = 2  # so many accounts may be added while there is nobody who could decide
SECONDS = frozenset({StaffRole.APPROVER, StaffRole.COMPLIANCE})
_WHERE = "accounts.json"


class State(StrEnum):
    """Whether an account may act."""

    ACTIVE = "active"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True)
class Account:
    """One member of staff.

    Args:
        display: the person's name; shown to colleagues, written nowhere else.
        created, changed: Unix seconds.
    """

    name: str
    display: str = field(repr=False)
    roles: frozenset[StaffRole]
    state: State
    password: PasswordHash = field(repr=False)
    created: int
    changed: int

    @property
    def is_active(self) -> bool:
        """Whether it may act."""
        return self.state is State.ACTIVE

    @property
    def may_agree(self) -> bool:
        """Whether it may be the second person."""
        return self.is_active and bool(self.roles & SECONDS)

    def fields(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "display": self.display,
            "roles": sorted(self.roles),
            "state": self.state.value,
            "password": self.password.fields(),
            "created": self.created,
            "changed": self.changed,
        }

    @classmethod
    def parse(cls, name: str, value: object, path: str) -> Account:
        """Read the JSON form."""
        names = set(cls.__dataclass_fields__) - {"name"}
        fields = Fields.of(value, names, path)
        return cls(
            name=check_name(name),
            display=check_display(fields.values["display"]),
            roles=frozenset(fields.choices("roles", StaffRole, least=1)),
            state=fields.choice("state", State),
            password=PasswordHash.parse(fields.values["password"], fields.at("password")),
            created=fields.whole("created"),
            changed=fields.whole("changed"),
        )


Accounts = Mapping[str, Account]


def encode_accounts(accounts: Accounts) -> bytes:
    """Write all accounts as the bytes of their file."""
    items = {name: account.fields() for name, account in accounts.items()}
    return encode_jcs({"format": FORMAT, "accounts": items}) + b"\n"


def decode_accounts(data: bytes) -> dict[str, Account]:
    """Read all accounts.

    Raises:
        MalformedMessageError: on any other byte string.
    """
    fields = Fields.of(parse_json(data, _WHERE), {"format", "accounts"}, _WHERE)
    if fields.values["format"] != FORMAT:
        raise defect(fields.at("format"), f"must be {FORMAT}", "restore the file")
    found = fields.mapping("accounts")
    # Not the name but its place: a message may reach others than the file does.
    return {
        name: Account.parse(name, item, f"{fields.at('accounts')}[{index}]")
        for index, (name, item) in enumerate(found.items())
    }


def check_name(value: object) -> str:
    """Return a name that an account may have.

    Raises:
        MalformedMessageError: it may not; says the rule.
    """
    return read_matched(value, NAME, NAME_RULE, "account name")


def check_display(value: object) -> str:
    """Return a person's name as it may be shown."""
    return read_text(value, "display name", most=MAX_DISPLAY)


def check_roles(roles: Iterable[StaffRole]) -> frozenset[StaffRole]:
    """Return roles, of which there is at least one."""
    found = frozenset(roles)
    if not found:
        raise defect("roles", "none is given", f"take of {', '.join(StaffRole)}")
    return found


def checked_text(text: str, what: str = "reason") -> str:
    """Return a reason as a private part can hold it; whether one is needed, the policies say.

    Raises:
        MalformedMessageError: too long, or not printable.
    """
    return read_text(text, what) if text else text


def added(accounts: Accounts, account: Account) -> dict[str, Account]:
    """Return the accounts with a new one.

    Raises:
        StaffError: the name is taken, there are too many, or the set-up would lead nowhere.
    """
    if account.name in accounts:
        raise StaffError("account name: taken; choose another")
    if len(accounts) >= MAX_ACCOUNTS:
        raise StaffError(f"accounts: there are {MAX_ACCOUNTS}; no more can be added")
    found = {**accounts, account.name: account}
    if not accounts and StaffRole.APPROVER not in account.roles:
        raise StaffError("set-up: the first account must be an approver's; add --role approver")
    if len(found) == SET_UP and not can_govern(found):
        raise StaffError(
            "set-up: the second account must be an approver's or a compliance officer's, so "
            "that two can decide about all others"
        )
    return found


def changed(accounts: Accounts, name: str, now: int, **changes: Any) -> dict[str, Account]:
    """Return the accounts with one changed.

    Raises:
        StaffError: there is none of this name, or nobody could undo the change.
    """
    if name not in accounts:
        raise StaffError("account: there is none of this name; see `staff list`")
    account = replace(accounts[name], changed=now, **changes)
    found = {**accounts, name: account}
    if can_govern(accounts) and not can_govern(found):
        raise StaffError(
            "accounts: no approver with a second person would be left to decide about roles; "
            "give these roles to somebody else first"
        )
    return found


def can_govern(accounts: Accounts) -> bool:
    """Report whether there are an approver and another one that can agree."""
    able = [account for account in accounts.values() if account.may_agree]
    return len(able) > 1 and any(StaffRole.APPROVER in account.roles for account in able)
