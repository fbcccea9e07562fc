"""`lianfang desk`: check, screen, sync, status, light; open, sample, audit.

Identifiers come from a hidden prompt, from standard input or from a file; never from the
command line, which every user of the machine can read.
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from compliance.commands.acting import AsOption, SecondOption
from compliance.commands.output import EXIT_REFUSED, Format, Formatted, say

app = typer.Typer(help="Ask for a light; screen customers; account for it.", no_args_is_help=True)

Directory = Annotated[Path, typer.Argument(help="The node's directory.")]
Kinds = "tw_person_id, tw_national_id, tw_resident_number, phone, bank_account, line_id, email"


class Tongue(StrEnum):
    """In which language a light is told."""

    ZH = "zh"
    EN = "en"


class ServingPurpose(StrEnum):
    """For what a customer's light is asked."""

    COUNTER = "counter"
    CALL_CENTRE = "call_centre"
    ONLINE = "online"


_TONGUE = Tongue.ZH if os.environ.get("LANG", "").startswith("zh") else Tongue.EN
Spoken = Annotated[Tongue, typer.Option("--lang", help="zh for Chinese, en for English.")]


@app.command()
def check(
    directory: Directory,
    case: Annotated[str, typer.Option(help="Reference of the case; never an identifier.")],
    *,
    kind: Annotated[str, typer.Option(help=f"One of {Kinds}.")] = "",
    purpose: Annotated[ServingPurpose, typer.Option()] = ServingPurpose.COUNTER,
    channel: Annotated[str, typer.Option(help="Where the customer is, for the journal.")] = "",
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Read lines of kind,value from standard input.")
    ] = False,
    thin: Annotated[
        bool, typer.Option("--thin", help="Fetch padded buckets, keep no tables.")
    ] = False,
    by: AsOption = "",
    language: Spoken = _TONGUE,
    output: Formatted = Format.TEXT,
) -> None:
    """Show the light of one customer; the identifier is asked for, or read from stdin."""
    from clients.acting import acting
    from clients.desk.asking import read_identifiers
    from clients.desk.desk import Desk
    from clients.desk.telling import finding_fields, finding_text
    from protocols.lookup.request import Purpose
    from protocols.lookup.wording import Language

    identifiers = read_identifiers(kind, many=stdin)
    with Desk(directory, thin=thin) as desk:
        who = acting(directory, desk.office, name=by)
        found = desk.check(
            identifiers,
            purpose=Purpose(purpose),
            case=case,
            channel=channel,
            by=who.by,
            glass_broken=who.facts(desk.office).glass_broken,
        )
    spoken = Language(language)
    say(
        output,
        finding_fields(found, spoken),
        finding_text(found, spoken),
        f"lianfang desk status {directory}",
    )


@app.command()
def screen(
    directory: Directory,
    file: Annotated[Path, typer.Argument(help="The customers, .csv or .parquet.")],
    column: Annotated[str, typer.Option(help="The column of identifiers.")],
    kind: Annotated[str, typer.Option(help=f"One of {Kinds}.")],
    out: Annotated[Path, typer.Option(help="The result, .parquet or .csv.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Start without asking.")] = False,
    approved_by: Annotated[
        str, typer.Option(help="Who approved numbers that lie side by side.")
    ] = "",
    keep_identifier: Annotated[
        bool, typer.Option("--keep-identifier", help="Write identifiers into the result.")
    ] = False,
    care: Annotated[
        bool, typer.Option("--care", help="Show suspected victims too, to care for them.")
    ] = False,
    by: AsOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Screen a file of customers: first what it costs, then the lights of all of them."""
    from clients.acting import acting
    from clients.desk.asking import kind_of
    from clients.desk.desk import Desk
    from clients.desk.screening import Screening
    from clients.desk.telling import (
        preview_fields,
        preview_text,
        progress_bar,
        summary_fields,
        summary_text,
    )

    with Desk(directory) as desk:
        who = acting(directory, desk.office, name=by)
        screening = Screening(desk, file, column=column, kind=kind_of(kind), care=care)
        preview = screening.preview()
        typer.echo(preview_text(preview), err=True)
        if preview.needed and not yes:
            typer.confirm("Start?", abort=True, err=True)
        with progress_bar() as advance:
            summary = screening.run(
                out,
                approved_by=approved_by,
                keep_identifier=keep_identifier,
                on_progress=advance,
                by=who.by,
            )
    say(
        output,
        {"preview": preview_fields(preview), **summary_fields(summary), "out": str(out)},
        summary_text(summary, out),
        f"lianfang desk screen {directory} {file} again after the next lianfang desk sync",
    )


@app.command()
def sync(directory: Directory, output: Formatted = Format.TEXT) -> None:
    """Fetch the manifest in force and every newer table."""
    from clients.lookup.session import Lookup
    from clients.node.home import Home

    with Lookup(Home(directory)) as lookup:
        changes = lookup.sync()
        epoch = lookup.epoch().manifest.epoch
    lines = [
        f"  {change.contributor}: version {change.after}, {change.count:,} records"
        + (" (new)" if change.after != change.before else "")
        for change in changes
    ]
    fields = [
        {
            "contributor": change.contributor,
            "before": change.before,
            "version": change.after,
            "records": change.count,
        }
        for change in changes
    ]
    say(
        output,
        {"epoch": epoch, "tables": fields},
        "\n".join([f"Epoch {epoch}", *lines]),
        f"lianfang desk status {directory}",
    )


@app.command()
def status(directory: Directory, output: Formatted = Format.TEXT) -> None:
    """Show epoch, tables with their age, cache, quota left, and alarms."""
    from clients.desk.state import describe
    from clients.desk.telling import state_text

    found = describe(directory)
    say(output, found, state_text(found), f"lianfang desk sync {directory}")


@app.command()
def light(output: Formatted = Format.TEXT) -> None:
    """Explain what each light means, in both languages."""
    from clients.desk.telling import light_fields, light_text

    say(output, {"lights": light_fields()}, light_text(), "lianfang desk check NODE_DIR --case REF")


@app.command(name="open")
def open_(
    directory: Directory,
    sample: Annotated[Path, typer.Option(help="The auditor's sample, JSON.")],
    out: Annotated[Path, typer.Option(help="Where the openings go; for the auditor alone.")],
    case: Annotated[str, typer.Option(help="Reference of the audit.")],
    reason: Annotated[str, typer.Option(help="Why; name no person.")],
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Open the sampled questions to an auditor; names only the persons in the sample."""
    from hashlib import sha256

    from clients.acting import acting
    from clients.desk.openings import open_papers
    from clients.node.home import Home
    from clients.office import node_office
    from compliance.office.about import About
    from protocols.tlog.entry import Verb

    drawn = sha256(sample.read_bytes()).digest()
    with node_office(Home(directory)) as office:
        who = acting(directory, office, name=by, second=second)
        about = About(Verb.DISCLOSE, "queries", document=drawn, case=case, reason=reason)
        what = f"open the queries of sample {drawn.hex()[:12]} to an auditor"
        who.perform(office, "open_query", about, what=what)
        opened, missing = open_papers(directory, sample, out)
    say(
        output,
        {"opened": opened, "missing": missing, "out": str(out)},
        f"Opened {opened} questions, {missing} were not found here.\n"
        f"{out} names persons: give it to the auditor and to nobody else.",
        "the auditor runs lianfang desk audit",
    )


@app.command()
def sample(
    evidence: Annotated[Path, typer.Option(help="A holder's evidence, JSON.")],
    seed: Annotated[str, typer.Option(help="Chosen after the evidence was handed over.")],
    out: Annotated[Path, typer.Option(help="Where the sample goes.")],
    size: Annotated[int, typer.Option(min=1, help="How many questions.")] = 20,
    output: Formatted = Format.TEXT,
) -> None:
    """Draw the questions that a desk is to open, from what a holder logged."""
    from clients.desk.openings import sample_papers

    book, picks = sample_papers(evidence, out, seed=seed, size=size)
    say(
        output,
        {"drawn": len(picks), "asked": sum(entry.count for entry in book.entries)},
        f"Drew {len(picks)} questions of {book.asker} in epoch {book.epoch}.",
        f"{book.asker} runs lianfang desk open NODE_DIR --sample {out}",
    )


@app.command()
def audit(
    evidence: Annotated[Path, typer.Option(help="The holder's evidence, JSON.")],
    sample: Annotated[Path, typer.Option(help="The auditor's own copy of the sample.")],
    openings: Annotated[Path, typer.Option(help="What the desk opened.")],
    cases: Annotated[Path, typer.Option(help="CSV with case, kind, value.")],
    output: Formatted = Format.TEXT,
) -> None:
    """Check what a desk opened against a holder's book and the case file."""
    from clients.desk.openings import audit_papers

    verdict = audit_papers(evidence, sample, openings, cases)
    lines = [f"{verdict.opened} questions accounted for, {len(verdict.faults)} faults"]
    say(
        output,
        {"clean": verdict.is_clean, "opened": verdict.opened, "faults": list(verdict.faults)},
        "\n".join([*lines, *(f"  {fault}" for fault in verdict.faults)]),
        "destroy the openings" if verdict.is_clean else "take the faults up with the desk",
    )
    if not verdict.is_clean:
        raise typer.Exit(EXIT_REFUSED)
