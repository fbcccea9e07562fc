"""Which of the two programs a command belongs to, where both have it from one text.

A program gives itself to its commands as the object of their context: `app.callback()` of
`commands_of` sets it, `program_of` returns it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

if TYPE_CHECKING:
    from compliance.office.office import Office


@dataclass(frozen=True, slots=True)
class Program:
    """The hub's program, or a node's.

    Args:
        name: as it is typed.
        console: the command that serves its screens, as it is typed.
        check: refuses a directory that is none of its own, before anything is made in it.
        office: opens the compliance office of a directory.
    """

    name: str
    console: str
    check: Callable[[Path], object]
    office: Callable[[Path], AbstractContextManager[Office]]


def commands_of(
    program: Program, commands: dict[str, Callable[..., None]], text: str
) -> typer.Typer:
    """Return a group of commands, by name, that knows its program."""
    app = typer.Typer(help=text, no_args_is_help=True)

    @app.callback()
    def begin(context: typer.Context) -> None:
        context.obj = program

    for name, command in commands.items():
        app.command(name=name)(command)
    return app


def program_of(context: typer.Context) -> Program:
    """Return the program that runs a command."""
    return cast("Program", context.obj)
