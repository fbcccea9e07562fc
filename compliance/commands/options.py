"""The option of commands that run on: in which form they log."""

from __future__ import annotations

from typing import Annotated

import typer

from compliance.operation.settings import FORMAT_VARIABLE, LogFormat

LogFormatOption = Annotated[
    LogFormat,
    typer.Option(
        "--log-format", envvar=FORMAT_VARIABLE, help="Form of log lines on standard error."
    ),
]
