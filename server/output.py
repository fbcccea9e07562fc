"""How the hub's commands speak: a result, what comes next, and an exit code.

0  done
1  failed: the network, another party, or this machine
2  the command line itself is wrong
4  configuration or input is wrong; the text names the field and the cure
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any

import typer

EXIT_FAILED = 1
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


def explain(error: Exception) -> int:
    """Write one clear line about a known error and return its exit code.

    Raises:
        Exception: the error itself, if it is not a known one.
    """
    # Imported where something went wrong: help must not wait for cryptography and gRPC.
    from compliance.configuration import ConfigError  # noqa: PLC0415  see above
    from compliance.errors import ComplianceError  # noqa: PLC0415  see above
    from protocols.errors import ProtocolError  # noqa: PLC0415  see above
    from protocols.link import TransportError  # noqa: PLC0415  see above

    match error:
        case ConfigError() | ProtocolError():
            typer.echo(f"error: {error}", err=True)
            return EXIT_CONFIG
        case TransportError() | ComplianceError() | OSError():
            typer.echo(f"error: {error}", err=True)
            return EXIT_FAILED
    raise error
