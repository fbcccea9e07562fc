"""How commands speak: a result, what comes next, and an exit code (`compliance.exits`)."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer

from compliance.exits import Exit, exit_of

EXIT_FAILED = Exit.FAILED
EXIT_REFUSED = Exit.REFUSED
EXIT_CONFIG = Exit.CONFIG


class Format(StrEnum):
    """How a command's result is written."""

    TEXT = "text"
    JSON = "json"


Formatted = Annotated[Format, typer.Option("--format", help="text for people, json for machines.")]


def say(output: Format, value: dict[str, Any], text: str, following: str) -> None:
    """Write the result and the next command."""
    if output is Format.JSON:
        typer.echo(json.dumps(value | {"next": following}, ensure_ascii=False))
    else:
        typer.echo(f"{text}\nNext: {following}")


def explain_by(error: Exception, own: Callable[[Exception], Exit | None]) -> int:
    """Write one clear line about a known error and return its exit code.

    Args:
        own: the code of an error that one program alone knows.

    Raises:
        Exception: the error itself, if it is not a known one.
    """
    found = exit_of(error) or own(error)
    if found is None:
        raise error
    typer.echo(f"{'refused' if found is Exit.REFUSED else 'error'}: {error}", err=True)
    return found
