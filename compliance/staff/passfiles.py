"""Passwords in files, for commands that nobody types at: one line, readable by its owner alone."""

from __future__ import annotations

from pathlib import Path

from compliance.configuration import ConfigError
from compliance.staff.accounts import NAME
from compliance.staff.passwords import MAX_PASSWORD

_OTHERS = 0o077
_MOST_BYTES = 4 * MAX_PASSWORD + 2


def read_password(path: Path) -> str:
    """Read a password from a file; a line end after it does not count.

    Raises:
        ConfigError: missing, empty, too long, no text, or readable by others.
    """
    try:
        with path.open("rb") as file:
            if path.stat().st_mode & _OTHERS:
                raise ConfigError("password file: others may read it; run chmod 600")
            data = file.read(_MOST_BYTES + 1)
        text = data.decode().rstrip("\r\n")
    except OSError as error:
        raise ConfigError("password file: cannot be read; correct the path or its mode") from error
    except UnicodeDecodeError as error:
        raise ConfigError("password file: is no UTF-8 text; write the password into it") from error
    if not text or len(data) > _MOST_BYTES or "\n" in text:
        raise ConfigError("password file: must hold one line, the password; correct it")
    return text


def password_in(directory: str, account: str) -> str | None:
    """Return what stands in the file of an account; None without a directory, or a file in it.

    Args:
        directory: what LIANFANG_PASSWORDS says; a file in it has the name of its account.
    """
    if not directory or not NAME.fullmatch(account):
        return None
    path = Path(directory) / account
    return read_password(path) if path.exists() else None
