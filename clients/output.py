"""How commands speak: a result, what comes next, and an exit code.

0  done
1  failed: the network, another party, or this machine
3  refused: a policy or a budget says no
4  configuration or input is wrong; the text names the field and the cure
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any

import typer

EXIT_FAILED = 1
EXIT_REFUSED = 3
EXIT_CONFIG = 4


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
