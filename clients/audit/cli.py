"""`lianfang audit`: what a compliance officer does at a node."""

from __future__ import annotations

import typer

from clients.audit.cli_agreement import app as agreement
from clients.audit.cli_alarms import alarms
from clients.audit.cli_alarms import app as alarm
from clients.audit.cli_export import export
from clients.audit.cli_fetch import fetch
from clients.audit.cli_incident import app as incident
from clients.audit.cli_integrity import integrity
from clients.audit.cli_own import app as own
from clients.audit.cli_reconcile import reconcile
from clients.audit.cli_replay import replay
from clients.audit.cli_search import disclosures, search, statement
from clients.audit.cli_verify import verify
from clients.audit.cli_witness import app as witness
from clients.rights.cli import app as rights

app = typer.Typer(
    help="Agree, decide and prove: a compliance officer's work.", no_args_is_help=True
)
app.add_typer(agreement, name="agreement")
app.add_typer(alarm, name="alarm")
app.add_typer(incident, name="incident")
app.add_typer(own, name="own")
app.add_typer(rights, name="rights")
app.add_typer(witness, name="witness")
app.command(name="replay")(replay)
for command in (
    verify,
    fetch,
    reconcile,
    search,
    disclosures,
    statement,
    alarms,
    integrity,
    export,
):
    app.command()(command)
