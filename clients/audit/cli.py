"""`lianfang audit`: what a compliance officer does at a node."""

from __future__ import annotations

import typer

from clients.audit.cli_agreement import app as agreement
from clients.audit.cli_replay import replay

app = typer.Typer(
    help="Agree, decide and prove: a compliance officer's work.", no_args_is_help=True
)
app.add_typer(agreement, name="agreement")
app.command(name="replay")(replay)
