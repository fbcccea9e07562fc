"""Options that the commands on persons' rights share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class KindName(StrEnum):
    """Kinds of requests, for the command line; see `compliance.rights.kinds.Kind`."""

    ACCESS = "access"
    CORRECTION = "correction"
    OBJECTION = "objection"
    ERASURE = "erasure"
    DISPUTE = "dispute"


class Language(StrEnum):
    """In which language people are told."""

    ZH = "zh"
    EN = "en"


Directory = Annotated[Path, typer.Argument(help="The node's directory.")]
Number = Annotated[str, typer.Argument(help="The receipt number, as R-7K2MQ-9XWT4.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; sealed in the log, names no person.")]
Kind = Annotated[str, typer.Option("--identifier", help="What kind of identifier is asked for.")]
Stdin = Annotated[
    bool,
    typer.Option("--stdin", help="Read lines `kind,value`, `contact,TEXT` and `wish,TEXT`."),
]
Profile = Annotated[
    str, typer.Option(help="Jurisdiction, tw or eu; that of the agreement in force if empty.")
]
Tongue = Annotated[Language, typer.Option("--lang", help="zh or en.")]
