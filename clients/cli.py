"""`lianfang`: demo, node, staff, desk, feed, holder, audit, keys, backup, bench.

Results go to standard output, progress to standard error. Heavy modules are imported by
the command that needs them, so that help is at hand at once.
"""

from __future__ import annotations

import os
import sys

import typer

from clients.audit.cli import app as audit
from clients.bench.cli import app as bench
from clients.cli_backup import backup, restore, settle
from clients.demo.cli import demo
from clients.desk.cli import app as desk
from clients.feed.cli import app as feed
from clients.holder.cli import app as holder
from clients.node.cli import app as node
from clients.output import explain
from clients.program import PROGRAM
from clients.staff.cli import app as staff
from compliance.commands.keys import keys_commands

app = typer.Typer(
    name="lianfang",
    help="Take part in joint fraud defence: run a node, try the demonstration, measure.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(node, name="node")
app.add_typer(staff, name="staff")
app.add_typer(desk, name="desk")
app.add_typer(feed, name="feed")
app.add_typer(holder, name="holder")
app.add_typer(audit, name="audit")
app.add_typer(keys_commands(PROGRAM), name="keys")
app.add_typer(bench, name="bench")
app.command(name="demo")(demo)
for _command in (backup, restore, settle):
    app.command()(_command)


def main() -> None:
    """Run the command line; known errors end with one clear line and their exit code."""
    # Threads that wait by spinning starve the other processes of a small machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        app()
    except Exception as error:  # noqa: BLE001  # unknown errors are raised again by `explain`
        sys.exit(explain(error))


if __name__ == "__main__":
    main()
