"""The staff of one organisation, ROOT/staff: its accounts and who opens one.

    accounts.json        all accounts, replaced as a whole
    attempts.json        failed logins since the last success
    consents.journal     what waits for a second person, and what came of it
    emergencies.journal  declared emergencies and their reviews

Durability: a change is on disk when its call returns. Concurrency: any number of threads and
processes; `exclusive` holds the accounts over reading and replacing them. Nothing here asks
a policy: see `compliance.staff.changes`. Nothing here knows a terminal or a browser.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from compliance.configuration import ConfigError
from compliance.files import write_atomically
from compliance.staff.accounts import (
    NAME,
    SET_UP,
    Account,
    Accounts,
    decode_accounts,
    encode_accounts,
)
from compliance.staff.attempts import Attempts
from compliance.staff.consents import Consents
from compliance.staff.emergencies import Emergencies
from compliance.staff.errors import CredentialsError
from compliance.staff.locking import exclusive
from compliance.staff.passwords import MAX_PASSWORD, Cost, PasswordHash
from protocols.errors import MalformedMessageError

FOLDER = "staff"
DEFAULT_COST = Cost()
_ACCOUNTS = "accounts.json"


class Staff:
    """The register of one organisation's directory; makes nothing on disk until it is written.

    Args:
        root: the directory of the node or the hub.
        cost: of new password hashes, `DEFAULT_COST` if None; one of another cost is renewed
            at the next login.
    """

    def __init__(
        self,
        root: Path,
        *,
        cost: Cost | None = None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.directory = root / FOLDER
        self.attempts = Attempts(self.directory)
        self.consents = Consents(self.directory / "consents.journal")
        self.emergencies = Emergencies(self.directory / "emergencies.journal", random=random)
        self._cost = cost or DEFAULT_COST
        self._random = random
        self._path = self.directory / _ACCOUNTS
        # What is tried for a name that nobody has: made once, as costly as any other.
        self._nobody = PasswordHash.of_nobody(self._cost)

    def accounts(self) -> dict[str, Account]:
        """Return all accounts by name.

        Raises:
            ConfigError: the file is damaged; nobody is let in until it is restored.
        """
        try:
            return decode_accounts(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except MalformedMessageError as error:
            raise ConfigError(f"{error}; restore staff/{_ACCOUNTS} from a backup") from error

    @property
    def accounts_path(self) -> Path:
        """Name the file of all accounts, which is replaced as a whole."""
        return self._path

    @property
    def is_set_up(self) -> bool:
        """Whether there are the two accounts that decide about all others."""
        return len(self.accounts()) >= SET_UP

    def find(self, name: str) -> Account | None:
        """Return an account by name."""
        return self.accounts().get(name)

    def verify(self, name: str, password: str, *, now: int) -> Account:
        """Return the account that name and password open.

        Raises:
            CredentialsError: no such account, a suspended one, another password, or too many
                failures: one answer for all, after the same work.
            ConfigError: a file is damaged.
        """
        # What can be no name is not looked up, but costs the same as one that can.
        account = self.find(name) if NAME.fullmatch(name) else None
        is_open = self.attempts.begin(name, exists=account is not None, now=now)
        kept = self._nobody if account is None or not is_open else account.password
        matches = kept.matches(password[: MAX_PASSWORD + 1])
        if not matches or not is_open or account is None or not account.is_active:
            raise CredentialsError
        self.attempts.clear(name)
        if kept.cost != self._cost:
            self._renew(account, password)
        return account

    def hash_of(self, password: str) -> PasswordHash:
        """Hash a new password that was checked."""
        return PasswordHash.of(password, self._cost, self._random)

    @contextmanager
    def exclusive(self) -> Iterator[tuple[dict[str, Account], Callable[[Accounts], None]]]:
        """Hold the accounts alone: gives them, and what replaces them durably."""
        with exclusive(self.directory / "accounts.lock"):
            yield self.accounts(), self._store

    def _store(self, accounts: Accounts) -> None:
        write_atomically(self._path, encode_accounts(accounts))

    def _renew(self, account: Account, password: str) -> None:
        """Keep a password that was right under the present cost."""
        fresh = self.hash_of(password)
        with self.exclusive() as (accounts, store):
            # Whoever changed the account since then has the last word.
            if accounts.get(account.name) == account:
                store({**accounts, account.name: replace(account, password=fresh)})
