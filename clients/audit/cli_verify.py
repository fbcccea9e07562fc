"""`lianfang audit verify`: check an exported log or a pack offline, without trusting the hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clients.audit.cli_options import LogPath, PolicyFile, format_time, load_policy
from compliance.commands.output import EXIT_FAILED, Format, Formatted, say

if TYPE_CHECKING:
    from compliance.exports.check import Checked


def verify(
    path: LogPath,
    policy: PolicyFile = None,
    since: Annotated[
        Path | None, typer.Option(help="An older export, pack or checkpoint of the same log.")
    ] = None,
    minimum: Annotated[
        int, typer.Option(min=0, help="Entries below may be missing: retention is over.")
    ] = 0,
    output: Formatted = Format.TEXT,
) -> None:
    """Check every entry, tile, signature and document; ends with 1 at the first fault."""
    from compliance.exports.check import check_export, read_note
    from compliance.exports.source import open_source
    from compliance.progress import progress_bar

    older = None if since is None else read_note(since)
    with (
        open_source(path) as source,
        progress_bar("verify", shown=output is Format.TEXT) as progress,
    ):
        known, is_given = load_policy(policy, source.policy(), path)
        checked = check_export(source, known, minimum=minimum, since=older, progress=progress)
    keys = "given" if is_given else "of the export itself"
    value = _value(checked) | {
        "keys": keys,
        "policy": [log.key.format() for log in known.logs]
        + [item.key.format() for item in known.witnesses],
    }
    lines = [_text(checked)]
    if not is_given:
        lines.append(
            "The keys are those of the export itself: compare them with the ones you have from "
            "the organisations, or give --policy.\n"
            + "\n".join(f"  {key}" for key in value["policy"])
        )
    following = (
        f"lianfang audit search {path}"
        if checked.is_whole
        else "keep this file as it is, and ask the log's witnesses for theirs"
    )
    say(output, value, "\n".join(lines), following)
    if not checked.is_whole:
        raise typer.Exit(EXIT_FAILED)


def _value(checked: Checked) -> dict[str, Any]:
    report = checked.report
    return {
        "holds": checked.is_whole,
        "fault": checked.fault,
        "log": report.origin,
        "size": report.size,
        "entries": report.entries + checked.selected,
        "missing": report.pruned - checked.selected,
        "selection": checked.is_selection,
        "tiles": report.tiles,
        "cosigned": dict(report.cosigned),
        "documents": checked.documents,
        "files": checked.files,
        "absent": None if checked.absent is None else list(checked.absent),
        "since": checked.since,
    }


def _text(checked: Checked) -> str:
    report = checked.report
    if not checked.is_whole:
        return f"DOES NOT HOLD: {checked.fault}"
    lines = [f"Holds: {report.origin}, {report.size} entries."]
    if checked.is_selection:
        lines.append(
            f"{checked.selected} selected entries stand in it; that none was left out is shown "
            "by the whole log alone."
        )
    elif report.pruned:
        lines.append(f"{report.entries} are here; {report.pruned} are past their retention.")
    seen = [f"{name} at {format_time(at)}" for name, at in sorted(report.cosigned.items())]
    lines.append(f"Cosigned by {', '.join(seen)}." if seen else "Cosigned by nobody.")
    if checked.documents:
        lines.append(f"{checked.documents} agreements, profiles and policies are what was named.")
    if checked.absent:
        lines.append("Named by entries, but not here: " + ", ".join(checked.absent))
    if checked.since is not None:
        lines.append(f"It extends the older checkpoint of {checked.since} entries.")
    return "\n".join(lines)
