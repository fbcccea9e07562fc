"""`lianfang-hub` backup, restore, settle: copies of a hub, and going on from one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compliance.commands.acting import AsOption, SecondOption
from compliance.commands.output import Format, Formatted, say

if TYPE_CHECKING:
    from sqlalchemy import Engine

Directory = Annotated[Path, typer.Argument(metavar="HUB", help="The hub's directory.")]
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
    """Copy the hub into one encrypted file, while it is served."""
    from compliance.backup.asking import backup_material, size_text
    from compliance.backup.making import Subject, make_backup
    from compliance.backup.settled import check_settled
    from compliance.progress import progress_bar
    from server.home import HubHome, unix_now

    settings = HubHome(directory).settings()
    check_settled(directory)
    material = backup_material(key, file, is_new=True)
    engine = _engine(settings.database) if settings.database else None
    with progress_bar("backup", shown=output is Format.TEXT) as progress:
        subject = Subject(directory, "hub", settings.name, engine)
        try:
            made = make_backup(subject, file, material, now=unix_now(), progress=progress)
        finally:
            if engine is not None:
                engine.dispose()
    logs = [{"origin": log.origin, "size": log.size} for log in made.logs]
    told = ", ".join(f"{log.size:,} entries of {log.origin}" for log in made.logs)
    say(
        output,
        {"file": str(file), "parts": len(made.parts), "size": made.size, "logs": logs,
         "bytes": file.stat().st_size},
        f"Backed {settings.name} up: {len(made.parts)} parts, {size_text(made.size)}; {told}.\n"
        "Keep what opens it elsewhere. Restoring it needs a later copy of the log from a partner.",
        f"lianfang-hub restore {file} DIRECTORY, to try it",
    )  # fmt: skip


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup of a hub.")],
    directory: Annotated[Path, typer.Argument(metavar="HUB", help="A new or empty directory.")],
    database: Annotated[
        str,
        typer.Option(help="Address of an empty PostgreSQL database; that of hub.json otherwise."),
    ] = "",
    key: Key = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Put a backup back, verified whole; what came after it is then to be settled."""
    import json

    from compliance.backup.asking import backup_material
    from compliance.backup.restoring import restore_backup
    from compliance.configuration import ConfigError, read_object
    from compliance.files import write_atomically
    from compliance.progress import progress_bar
    from server.database import check_database
    from server.home import unix_now

    check_database(database)

    def connect(staging: Path) -> Engine:
        settings = read_object(staging / "hub.json")
        if database:
            settings["database"] = database
            write_atomically(staging / "hub.json", json.dumps(settings, indent=1).encode())
        if not settings.get("database"):
            raise ConfigError("database: the backup holds tables; give --database")
        return _engine(settings["database"])

    material = backup_material(key, file, is_new=False)
    with progress_bar("restore", shown=output is Format.TEXT) as progress:
        mark = restore_backup(
            file, directory, material, kind="hub", now=unix_now(), connect=connect,
            progress=progress,
        )  # fmt: skip
    logs = [{"origin": log.origin, "size": log.size} for log in mark.logs]
    say(
        output,
        {"hub": mark.name, "directory": str(directory), "made_at": mark.made_at, "logs": logs},
        f"Put {mark.name} back as it was when the backup was made. It is not served before what\n"
        "came since is made up for: ask a partner for `lianfang audit fetch` of the log.",
        f"lianfang-hub settle {directory} --copy COPY --reason TEXT --as NAME --second NAME",
    )


def settle(
    directory: Directory,
    copy: Annotated[
        list[Path] | None,
        typer.Option(help="The log as a partner fetched it since; one option for each year."),
    ] = None,
    seen: Annotated[
        list[Path] | None,
        typer.Option(help="A checkpoint: a witness's newest, or log-second/ that survived."),
    ] = None,
    *,
    unseen: Annotated[
        bool, typer.Option("--unseen", help="Nobody has either: all quotas count as used up.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why the hub was restored; sealed in the log.")] = "",
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Make up for what a restored hub has forgotten, so that it may be served again."""
    from compliance.progress import progress_bar
    from server.acting import acting
    from server.home import HubHome
    from server.settling import Given, settle_hub

    given = Given(tuple(copy or ()), tuple(seen or ()), unseen)
    with progress_bar("verify", shown=output is Format.TEXT) as progress:
        done = settle_hub(
            HubHome(directory),
            given,
            lambda office: acting(directory, office, name=by, second=second),
            reason=reason,
            progress=progress,
        )
    lines = [
        f"Recovered {sum(done['recovered_entries'].values()):,} entries of the log.",
        f"Charged {done['charged_elements']:,} evaluations that the book had forgotten.",
        f"Shut out again: {', '.join(done['shut_out']) or 'nobody'}; ended "
        f"{len(done['ended_invitations'])} invitations.",
    ]
    lines += [f"Look at: {_line(item)}" for item in done["to_look_at"]]
    say(output, done, "\n".join(lines), f"lianfang-hub serve {directory}")


def _line(item: dict[str, object]) -> str:
    named = item["recipients"]
    others = ", ".join(map(str, named)) if isinstance(named, list) else ""
    return f"{item['act']} ({item['matter']}) {others}".rstrip()


def _engine(setting: str) -> Engine:
    import os

    from compliance.state.engine import open_engine
    from server.database import address_of

    return open_engine(address_of(setting, os.environ))
