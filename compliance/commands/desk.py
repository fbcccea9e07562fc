"""Where people's commands stand: the register, the organisation's office, and who acts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compliance.commands.acting import acting_by
from compliance.commands.program import program_of

if TYPE_CHECKING:
    from compliance.office.office import Office
    from compliance.staff.accounts import Account
    from compliance.staff.acting import Acting
    from compliance.staff.staff import Staff

Directory = Annotated[Path, typer.Argument(help="Directory of the hub or node.")]
Name = Annotated[str, typer.Argument(help="The account.")]
Number = Annotated[int, typer.Argument(help="Its number, see `waiting`.")]
Reason = Annotated[str, typer.Option(help="Why; sealed in the log.")]


@dataclass(frozen=True, slots=True)
class Desk:
    """The register, the office, and who stands before them."""

    staff: Staff
    office: Office
    who: Acting

    def person(self) -> Acting:
        """Return who acts.

        Raises:
            ConfigError: it is no person.
        """
        from compliance.configuration import ConfigError

        if not self.who.account:
            raise ConfigError("--as: missing; say who you are")
        return self.who

    def account(self) -> Account:
        """Return the account of the person that acts, as it is at present."""
        return self.staff.accounts()[self.person().account]


@contextmanager
def at_desk(context: typer.Context, directory: Path, by: str, second: str) -> Iterator[Desk]:
    """Let somebody act, once the passwords are right.

    Raises:
        ConfigError, CredentialsError, LogCorruptError, StorageError: as opening the office, and
            as `acting_by`.
    """
    program = program_of(context)
    staff = staff_of(context, directory)
    with program.office(directory) as office:
        who = acting_by(program.name, directory, office, name=by, second=second)
        yield Desk(staff, office, who)


def staff_of(context: typer.Context, directory: Path) -> Staff:
    """Return the register of an organisation.

    Raises:
        ConfigError: the directory is none of this program.
    """
    from compliance.staff.staff import Staff

    program_of(context).check(directory)
    return Staff(directory)
