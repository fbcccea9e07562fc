"""The accounts as sign-in sees them: read again only when the file is another one."""

from __future__ import annotations

import threading
from hashlib import sha256
from pathlib import Path

from compliance.staff.accounts import Account
from compliance.staff.staff import Staff
from protocols.jcs import encode_jcs

_STAMP_SIZE = 16


class Register:
    """The accounts of one organisation; any number of threads.

    A thousand accounts take some milliseconds to read, and every request asks for one. The
    file is replaced as a whole, so that its inode and time tell another one.
    """

    def __init__(self, staff: Staff) -> None:
        self.staff = staff
        self._path: Path = staff.accounts_path
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._known: dict[str, Account] = {}

    def all(self) -> dict[str, Account]:
        """Return all accounts by name; not to be changed.

        Raises:
            ConfigError: the file is damaged.
        """
        with self._lock:
            try:
                found = self._path.stat()
                seen = (found.st_ino, found.st_size, found.st_mtime_ns)
            except FileNotFoundError:
                return {}
            if seen != self._seen:
                # Taken before reading: what is replaced in between is read once more.
                self._known, self._seen = self.staff.accounts(), seen
            return self._known

    def find(self, name: str) -> Account | None:
        """Return an account by name."""
        return self.all().get(name)


def stamp_of(account: Account) -> bytes:
    """Return what changes with everything that must end the sessions of an account.

    That is any change of it: its time is part of it, so that a role which was taken and given
    back, or a suspension that was lifted, ends them too.
    """
    return sha256(encode_jcs(account.fields())).digest()[:_STAMP_SIZE]
