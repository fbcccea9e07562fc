"""`lianfang audit search`, `disclosures`, `statement`: reading an exported log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clients.audit.cli_options import (
    Actor,
    AgreementOption,
    LogPath,
    OutcomeOption,
    Purpose,
    Recipient,
    RunOption,
    Since,
    Text,
    Until,
    VerbOption,
    Who,
    entry_row,
    entry_value,
    format_time,
    make_filter,
)
from compliance.commands.output import EXIT_REFUSED, Format, Formatted, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protocols.tlog.entry import Entry


_DELTA = 1e-6


def search(
    path: LogPath,
    since: Since = "",
    until: Until = "",
    verb: VerbOption = None,
    outcome: OutcomeOption = None,
    organisation: Who = "",
    actor: Actor = "",
    recipient: Recipient = "",
    purpose: Purpose = "",
    agreement: AgreementOption = "",
    run: RunOption = "",
    text: Text = "",
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many.")] = 200,
    output: Formatted = Format.TEXT,
) -> None:
    """Show the entries that fit every option; what it reads is not verified by it."""
    from compliance.exports.source import open_source

    wanted = make_filter(
        since=since, until=until, verb=verb, outcome=outcome, organisation=organisation,
        actor=actor, recipient=recipient, purpose=purpose, agreement=agreement, run=run, text=text,
    )  # fmt: skip
    shown, found = [], 0
    with open_source(path) as source:
        for entry in wanted.select(source.entries()):
            found += 1
            if found <= limit:
                shown.append(entry)
    lines = [entry_row(entry) for entry in shown]
    lines.append(f"{found} entries fit" + (f"; {limit} are shown." if found > limit else "."))
    value = {
        "filter": wanted.fields(),
        "found": found,
        "shown": len(shown),
        "entries": [entry_value(entry) for entry in shown],
    }
    following = f"lianfang audit export {path} --out PACK.zip --policy {path}.policy"
    say(output, value, "\n".join(lines), following)


def disclosures(
    path: LogPath,
    since: Since = "",
    until: Until = "",
    organisation: Who = "",
    recipient: Recipient = "",
    purpose: Purpose = "",
    agreement: AgreementOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Sum up who received what from whom, by purpose, recipient and legal basis."""
    from compliance.exports.disclosures import disclosures as sum_up
    from compliance.exports.source import open_source

    wanted = make_filter(
        since=since, until=until, verb=None, outcome=None, organisation=organisation,
        recipient=recipient, purpose=purpose, agreement=agreement,
    )  # fmt: skip
    with open_source(path) as source:
        rows = sum_up(wanted.select(source.entries()))
    if recipient:  # an entry that fits may have others as well
        rows = [row for row in rows if row.recipient == recipient]
    lines = [
        f"{row.purpose.rpartition('#')[2] or row.purpose}: {row.source} -> {row.recipient}, "
        f"{row.subject_matter} on {row.basis}: {row.acts} acts, {row.items} items, "
        f"{format_time(row.first)} to {format_time(row.last)}"
        for row in rows
    ]
    value = {"filter": wanted.fields(), "disclosures": [row.fields() for row in rows]}
    text = "\n".join(lines) or "Nobody received anything."
    say(output, value, text, f"lianfang audit search {path} --recipient NAME")


def statement(
    paths: Annotated[
        list[Path], typer.Argument(metavar="LOG...", help="The logs of all years, once each.")
    ],
    agreement: Annotated[
        Path | None, typer.Option(help="The agreement that sets the caps; a file.")
    ] = None,
    delta: Annotated[float, typer.Option(help="For scopes without a cap.")] = _DELTA,
    output: Formatted = Format.TEXT,
) -> None:
    """Add up again what was spent of every privacy budget; ends with 3 if a cap is exceeded."""
    from clients.audit.home import read_agreement
    from compliance.exports.statement import recipient_text
    from compliance.exports.statement import statement as add_up

    terms = None if agreement is None else read_agreement(agreement).agreement
    rows = add_up(_entries(paths), delta=delta, agreement=terms)
    lines = []
    for row in rows:
        cap = "no cap known" if row.cap is None else f"of {row.cap:.4f}, {row.left:.4f} left"
        over = "  OVER THE CAP" if row.is_over else ""
        lines.append(
            f"{row.scope.cohort}/{row.scope.dataset} to {recipient_text(row.scope)}: epsilon "
            f"{row.epsilon:.4f} {cap} (delta {row.delta:g}), {row.charges} charges of "
            f"{len(row.runs)} runs{over}"
        )
    value = {
        "agreement": None if terms is None else terms.digest.hex(),
        "scopes": [row.fields() for row in rows],
    }
    text = "\n".join(lines) or "Nothing was charged."
    say(output, value, text, f"lianfang audit search {paths[0]} --run RUN")
    if any(row.is_over for row in rows):
        raise typer.Exit(EXIT_REFUSED)


def _entries(paths: list[Path]) -> Iterator[Entry]:
    """Yield the entries of several logs, each log once.

    Raises:
        ConfigError: two are copies of one log, which would count twice.
    """
    from compliance.configuration import ConfigError
    from compliance.exports.source import open_source

    seen = set()
    for path in paths:
        with open_source(path) as source:
            origin = source.checkpoint().origin
            if origin in seen:
                raise ConfigError(f"{path.name}: is {origin} as well; give each log once")
            seen.add(origin)
            yield from source.entries()
