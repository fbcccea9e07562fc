"""`lianfang-hub log`: status, export, witness add, list, remove; works while the hub is served."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from compliance.commands.acting import AsOption, SecondOption
from compliance.commands.output import EXIT_FAILED, Format, Formatted, say

app = typer.Typer(
    help="Look at the audit log, export it, list its witnesses.", no_args_is_help=True
)
witness = typer.Typer(help="Say who cosigns the log.", no_args_is_help=True)
app.add_typer(witness, name="witness")

Directory = Annotated[Path, typer.Argument(help="The hub's directory.")]


@app.command()
def status(directory: Directory, output: Formatted = Format.TEXT) -> None:
    """Show how far each year's log goes, up to where it is published, and by which witnesses."""
    from server.home import HubHome
    from server.log.status import describe

    found = describe(HubHome(directory))
    say(output, found, status_text(found), f"lianfang-hub log export {directory} DIRECTORY")


@app.command()
def export(
    directory: Directory,
    to: Annotated[Path, typer.Argument(help="Where the files go; may hold an earlier export.")],
    year: Annotated[int, typer.Option(help="The year; the present one otherwise.")] = 0,
    output: Formatted = Format.TEXT,
) -> None:
    """Write the published log as static files, for serving and for auditors."""
    from compliance.files import write_atomically
    from compliance.log.export import export_log
    from server.home import HubHome
    from server.log.opening import open_log

    with open_log(HubHome(directory)) as log:
        origin = f"{log.prefix}/{year:04}" if year else log.yearly.origin()
        known = origin in log.storage.origins()
        checkpoint = export_log(log.storage, origin, to) if known else None
        if checkpoint is None:
            typer.echo(f"error: {origin}: nothing is published yet; serve the hub", err=True)
            raise typer.Exit(EXIT_FAILED)
        # Beside the files and not among them: a verifier goes by a policy of its own.
        policy = to.with_name(f"{to.name}.policy")
        write_atomically(policy, log.policy_of(origin).encode())
    say(
        output,
        {
            "origin": origin, "size": checkpoint.size, "root": checkpoint.root.hex(),
            "out": str(to), "policy": str(policy),
        },
        f"Wrote {checkpoint.size} entries of {origin} to {to}, and the hub's policy to {policy}.",
        f"lianfang audit verify {to} --policy {policy}, or better with a policy of your own",
    )  # fmt: skip


@witness.command()
def add(
    directory: Directory,
    name: Annotated[str, typer.Argument(help="The partner whose witness it is.")],
    keys: Annotated[
        list[str], typer.Argument(help="Its keys, as `lianfang audit witness key` prints them.")
    ],
    url: Annotated[
        str, typer.Option(help="Where it is asked; over the partner's own link otherwise.")
    ] = "",
    authority: Annotated[
        str, typer.Option(help="File in HUB/log with the certificates that sign its own.")
    ] = "",
    reason: Annotated[str, typer.Option(help="Why; sealed in the log.")] = "",
    quorum: Annotated[
        int, typer.Option(help="How many must cosign; a majority of those listed otherwise.")
    ] = 0,
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """List a witness; one that is listed already gets these keys instead. Two people decide it."""
    from server.acting import acting
    from server.home import HubHome
    from server.log.changing import add_witness, witness_named
    from server.log.opening import open_log

    home = HubHome(directory)
    home.settings()
    new = witness_named(name, keys, url=url, authority=authority)
    with open_log(home) as log:
        who = acting(directory, log.office, name=by, second=second)
        after = add_witness(home, log.office, new, who, reason=reason, quorum=quorum).after
    say(
        output,
        after.fields(),
        f"{name} is listed; {after.quorum} of {len(after.listed)} must cosign.\n"
        "A hub that is being served asks it within a minute.",
        f"lianfang-hub log witness list {directory}",
    )


@witness.command()
def remove(
    directory: Directory,
    name: Annotated[str, typer.Argument(help="The witness, as `witness list` names it.")],
    reason: Annotated[str, typer.Option(help="Why; sealed in the log.")] = "",
    quorum: Annotated[
        int, typer.Option(help="How many must cosign; a majority of those left otherwise.")
    ] = 0,
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Ask a witness no more, such as that of a revoked partner; two people decide it."""
    from server.acting import acting
    from server.home import HubHome
    from server.log.changing import remove_witness
    from server.log.opening import open_log

    home = HubHome(directory)
    home.settings()
    with open_log(home) as log:
        who = acting(directory, log.office, name=by, second=second)
        done = remove_witness(home, log.office, name, who, reason=reason, quorum=quorum)
    before, after = done.before, done.after
    say(
        output,
        {"removed": name, "quorum_before": before.quorum} | after.fields(),
        f"{name} is listed no more; {after.quorum} of {len(after.listed)} must cosign, where "
        f"{before.quorum} of {len(before.listed)} had to.\nA hub that is being served goes by it "
        "within a minute. Tell every officer: an own log.policy that asks for this witness has to "
        "be changed there.",
        f"lianfang-hub log status {directory}",
    )


@witness.command(name="list")
def list_all(directory: Directory, output: Formatted = Format.TEXT) -> None:
    """Show the witnesses, their keys, and how many must cosign."""
    from server.home import HubHome
    from server.log.status import listed

    found = listed(HubHome(directory))
    lines = [f"{found['quorum']} of {len(found['witnesses'])} must cosign."]
    for item in found["witnesses"]:
        lines.append(f"  {item['name']}  {item['url'] or 'over its own link'}")
        lines += [f"    {key}" for key in item["keys"]]
    if not found["witnesses"]:
        lines = ["No witness is listed: checkpoints are published unwitnessed."]
    say(
        output,
        found,
        "\n".join(lines),
        f"lianfang-hub log witness add {directory} NAME KEY... --reason WHY",
    )


def status_text(found: dict[str, Any]) -> str:
    """Write the status for people."""
    lines = [f"Key: {found['key']}"]
    if not found["quorum"]:
        lines.append("No witness is listed: checkpoints are published unwitnessed.")
    lines += [
        f"{year['origin']}: {year['entries']} entries, published up to {year['published']}"
        + (f", cosigned by {', '.join(year['cosigned'])}" if year["cosigned"] else "")
        for year in found["years"]
    ]
    lines += [f"alarm {item['number']}: {item['log']}: {item['text']}" for item in found["alarms"]]
    return "\n".join(lines)
