"""`lianfang audit`: what a compliance officer does at a node."""

from __future__ import annotations

import typer

from clients.audit.cli_agreement import app as agreement
from clients.audit.cli_export import export
from clients.audit.cli_replay import replay
from clients.audit.cli_search import alarms, disclosures, search, statement
from clients.audit.cli_verify import verify
from clients.audit.cli_witness import app as witness

app = typer.Typer(
    help="Agree, decide and prove: a compliance officer's work.", no_args_is_help=True
)
app.add_typer(agreement, name="agreement")
app.add_typer(witness, name="witness")
app.command(name="replay")(replay)
for command in (verify, search, disclosures, statement, alarms, export):
    app.command()(command)
