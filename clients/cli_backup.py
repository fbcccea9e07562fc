"""`lianfang` backup, restore, settle: copies of a node, and going on from one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compliance.commands.acting import AsOption, SecondOption
from compliance.commands.output import Format, Formatted, say

Directory = Annotated[Path, typer.Argument(metavar="NODE", help="The node's directory.")]
Key = Annotated[
    str,
    typer.Option(
        help="file:PATH, passphrase-file:PATH, fd:NUMBER or ask; LIANFANG_BACKUP_KEY if empty."
    ),
]


def backup(
    directory: Directory,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.")],
    key: Key = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Copy the node into one encrypted file, while it runs."""
    import time

    from clients.node.home import Home
    from compliance.backup.asking import backup_material, size_text
    from compliance.backup.making import Subject, make_backup
    from compliance.backup.settled import check_settled
    from compliance.progress import progress_bar

    name = Home(directory).config().name
    check_settled(directory)
    material = backup_material(key, file, is_new=True)
    with progress_bar("backup", shown=output is Format.TEXT) as progress:
        subject = Subject(directory, "node", name)
        made = make_backup(subject, file, material, now=int(time.time()), progress=progress)
    logs = [{"origin": log.origin, "size": log.size} for log in made.logs]
    told = ", ".join(f"{log.size:,} entries of {log.origin}" for log in made.logs)
    say(
        output,
        {"file": str(file), "parts": len(made.parts), "size": made.size, "logs": logs,
         "bytes": file.stat().st_size},
        f"Backed {name} up: {len(made.parts)} parts, {size_text(made.size)}; {told}.\n"
        "Keep what opens it elsewhere. Keys of a witness and of runs under way are not in it.",
        f"lianfang restore {file} DIRECTORY, to try it",
    )  # fmt: skip


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup of a node.")],
    directory: Annotated[Path, typer.Argument(metavar="NODE", help="A new or empty directory.")],
    key: Key = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Put a backup back, verified whole; what came after it is then to be settled."""
    import time

    from compliance.backup.asking import backup_material
    from compliance.backup.restoring import restore_backup
    from compliance.progress import progress_bar

    material = backup_material(key, file, is_new=False)
    with progress_bar("restore", shown=output is Format.TEXT) as progress:
        mark = restore_backup(
            file, directory, material, kind="node", now=int(time.time()), progress=progress
        )
    spent = ", ".join(mark.spent_runs) or "none"
    say(
        output,
        {
            "node": mark.name,
            "directory": str(directory),
            "made_at": mark.made_at,
            "spent_in_full": list(mark.spent_runs),
        },
        f"Put {mark.name} back as it was when the backup was made. Runs that were open count as "
        f"spent in full: {spent}.\nIt does not run before what came since is made up for: fetch "
        f"the hub's log by `lianfang audit fetch {directory} --out COPY`.",
        f"lianfang settle {directory} --log COPY --reason TEXT --as NAME --second NAME",
    )


def settle(
    directory: Directory,
    log: Annotated[
        list[Path] | None,
        typer.Option(help="A copy of the hub's log, fetched since; one option for each year."),
    ] = None,
    plan: Annotated[
        list[Path] | None,
        typer.Option(help="The plan of a run whose cost the log does not have."),
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="A run in which this node took no part.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why the node was restored; sealed.")] = "",
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Make up for what a restored node has forgotten, so that it may run again."""
    from clients.acting import acting
    from clients.node.home import Home
    from clients.settling import Given, settle_node
    from compliance.progress import progress_bar

    given = Given(tuple(log or ()), tuple(plan or ()), tuple(without or ()))
    with progress_bar("verify", shown=output is Format.TEXT) as progress:
        done = settle_node(
            Home(directory),
            given,
            lambda office: acting(directory, office, name=by, second=second),
            reason=reason,
            progress=progress,
        )
    lines = [
        f"Charged in full: {', '.join(done['spent_in_full']) or 'no run'}.",
        f"Charged {done['charged_elements']:,} evaluations that the book had forgotten.",
    ]
    say(output, done, "\n".join(lines), f"lianfang node start {directory}")
