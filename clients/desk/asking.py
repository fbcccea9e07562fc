"""How identifiers come to the desk: by a hidden prompt or by standard input."""

from __future__ import annotations

import sys

import typer

from clients.desk.desk import MAX_IDENTIFIERS
from protocols.errors import UnsupportedParameterError
from protocols.identifiers import IdentifierKind

MAX_LINE = 400


def kind_of(name: str) -> IdentifierKind:
    """Return a kind by its name.

    Raises:
        UnsupportedParameterError: there is no such kind; lists them.
    """
    try:
        return IdentifierKind(name)
    except ValueError as error:
        kinds = ", ".join(IdentifierKind)
        raise UnsupportedParameterError(f"kind: must be one of {kinds}") from error


def read_identifiers(kind: str, *, many: bool) -> list[tuple[IdentifierKind, str]]:
    """Read one identifier of a kind, or lines of `kind,value`.

    Raises:
        UnsupportedParameterError: a line is none; named by its number, never by its text.
    """
    if not many:
        chosen = kind_of(kind)
        if sys.stdin.isatty():
            return [(chosen, typer.prompt(f"{chosen}", hide_input=True, err=True))]
        return [(chosen, sys.stdin.readline(MAX_LINE).strip())]
    lines = [line.strip() for line in sys.stdin.read(MAX_LINE * MAX_IDENTIFIERS).splitlines()]
    found = []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        name, comma, value = line.partition(",")
        if not comma:
            raise UnsupportedParameterError(f"line {number}: must be kind,value")
        found.append((kind_of(name.strip()), value.strip()))
    if not found:
        raise UnsupportedParameterError("standard input: holds no identifier")
    return found
