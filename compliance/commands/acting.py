"""Who acts at a command: asks for passwords, and keeps none.

    LIANFANG_AS, LIANFANG_SECOND   accounts, where --as and --second name none
    LIANFANG_PASSWORDS             a directory with one file for each account, mode 600;
                                   where it has none for an account, the terminal asks

A password never stands on a command line, where every process of the machine could read it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from compliance.office.office import Office
    from compliance.staff.acting import Acting

AS, SECOND, PASSWORDS = "LIANFANG_AS", "LIANFANG_SECOND", "LIANFANG_PASSWORDS"
AsOption = Annotated[
    str, typer.Option("--as", help=f"Your account; {AS} if empty, then the program itself.")
]
SecondOption = Annotated[
    str,
    typer.Option("--second", help="Who agrees here and now, with a password of their own."),
]


def acting_by(
    program: str, root: Path, office: Office, *, name: str = "", second: str = ""
) -> Acting:
    """Return who acts, once the passwords are right; the program itself if nobody is named.

    Args:
        program: by which a second person agrees, as it is typed.

    Raises:
        CredentialsError: an account and its password are not accepted.
        ConfigError: a second person without a first, or a password cannot be asked for.
    """
    # Here, because every command takes the options above, and help must come at once.
    from compliance.staff.acting import identify
    from compliance.staff.staff import Staff

    return identify(
        Staff(root),
        office,
        name=name or os.environ.get(AS, ""),
        second=second or os.environ.get(SECOND, ""),
        ask=_password,
        agree=f"{program} staff agree {_plain(root)} {{number}} --as NAME",
    )


def new_password(account: str, file: Path | None, *, kept: bool = True) -> str:
    """Return the new password of an account: from a file, or typed twice.

    Args:
        kept: whether the file of LIANFANG_PASSWORDS counts as well.

    Raises:
        ConfigError: there is neither.
    """
    from compliance.staff.passfiles import password_in, read_password

    if file is not None:
        return read_password(file)
    found = password_in(os.environ.get(PASSWORDS, ""), account) if kept else None
    if found is not None:
        return found
    return _typed(f"New password of {account}", again=True, cure="give --password-file")


def _password(account: str) -> str:
    from compliance.staff.passfiles import password_in

    found = password_in(os.environ.get(PASSWORDS, ""), account)
    if found is not None:
        return found
    return _typed(f"Password of {account}", again=False, cure=f"put it into a file of {PASSWORDS}")


def _plain(root: Path) -> str:
    """Return a path for a text in which braces stand for something else."""
    return str(root).replace("{", "{{").replace("}", "}}")


def _typed(prompt: str, *, again: bool, cure: str) -> str:
    from compliance.configuration import ConfigError

    if not sys.stdin.isatty():
        raise ConfigError(f"password: there is no terminal to ask at; {cure}")
    return str(typer.prompt(prompt, hide_input=True, confirmation_prompt=again, err=True))
