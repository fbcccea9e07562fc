"""`lianfang audit own`: the organisation's own log, where what was done here is entered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from compliance.commands.acting import AsOption, SecondOption
from compliance.commands.output import EXIT_FAILED, Format, Formatted, say

app = typer.Typer(help="This organisation's own log.", no_args_is_help=True)

Directory = Annotated[Path, typer.Argument(help="The node's directory.")]


@app.command()
def status(directory: Directory, output: Formatted = Format.TEXT) -> None:
    """Show how many entries there are by year, how many are signed, and the log's key."""
    from clients.node.home import Home
    from clients.office import node_office
    from protocols.tlog.checkpoint import Checkpoint
    from protocols.tlog.note import Note

    years: list[dict[str, Any]] = []
    with node_office(Home(directory)) as office:
        for origin in office.yearly.origins():
            data = office.storage.checkpoint(origin)
            years.append(
                {
                    "origin": origin,
                    "entries": office.storage.edge(origin).size,
                    "signed": 0 if data is None else Checkpoint.parse(Note.decode(data).text).size,
                    "key": office.policy_of(origin).logs[0].key.format(),
                }
            )
        agreement = office.agreement()
    found = {
        "agreement": "" if agreement is None else agreement.digest.hex(),
        "years": years,
    }
    lines = [
        "No agreement is in force: nothing is permitted."
        if agreement is None
        else f"Agreement {agreement.name}, version {agreement.version} ({found['agreement'][:12]})"
    ]
    for year in years:
        lines += [
            f"{year['origin']}: {year['entries']:,} entries, signed up to {year['signed']:,}",
            f"  key {year['key']}",
        ]
    say(output, found, "\n".join(lines), f"lianfang audit own export {directory} DIRECTORY")


@app.command()
def export(
    directory: Directory,
    to: Annotated[Path, typer.Argument(help="A directory; an earlier export of it goes on.")],
    reason: Annotated[str, typer.Option(help="Why, for the log; name no person.")],
    year: Annotated[int, typer.Option(help="Which year; the present one if 0.")] = 0,
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Sign the log as it stands and write it out, for `lianfang audit verify` and others."""
    from clients.acting import acting
    from clients.node.home import Home
    from clients.office import node_office
    from compliance.files import write_atomically
    from compliance.log.export import export_log
    from compliance.office.about import About
    from protocols.tlog.entry import Verb

    with node_office(Home(directory)) as office:
        who = acting(directory, office, name=by, second=second)
        about = About(Verb.CONSULT, "log", reason=reason)
        who.perform(office, "export_pack", about, what="export this organisation's log")
        present = office.yearly.origin()
        origin = f"{present.rpartition('/')[0]}/{year:04}" if year else present
        if origin in office.yearly.origins():
            office.yearly.checkpoint()
        checkpoint = export_log(office.storage, origin, to)
        if checkpoint is None:
            typer.echo(f"error: {origin}: there is no such log here", err=True)
            raise typer.Exit(EXIT_FAILED)
        # Beside the files and not among them: a verifier goes by a policy of its own.
        policy = to.with_name(f"{to.name}.policy")
        write_atomically(policy, office.policy_of(origin).encode())
    say(
        output,
        {
            "origin": origin, "size": checkpoint.size, "root": checkpoint.root.hex(),
            "out": str(to), "policy": str(policy),
        },
        f"Wrote {checkpoint.size} entries of {origin} to {to}, and its key to {policy}.",
        f"lianfang audit verify {to} --policy {policy}",
    )  # fmt: skip
