"""`lianfang feed`: publish, withdraw, status, readers, canaries.

Exit codes: 4 also when every row of an input was refused, or a report to withdraw is not
known; 3 when the quota did not cover all that waits; 1 when the hub or holders stayed away.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compliance.commands.acting import AsOption
from compliance.commands.output import (
    EXIT_CONFIG,
    EXIT_FAILED,
    EXIT_REFUSED,
    Format,
    Formatted,
    say,
)

if TYPE_CHECKING:
    from clients.feed.defects import Refusal
    from clients.feed.home import FeedHome
    from clients.feed.permitting import Enter, Permitting
    from clients.feed.publishing import Progress, Published
    from clients.feed.register import Actor, Register

app = typer.Typer(help="Contribute reports, and take them back.", no_args_is_help=True)

Directory = Annotated[Path, typer.Argument(help="The node's directory.")]


@app.command()
def publish(
    directory: Directory,
    file: Annotated[
        Path | None,
        typer.Argument(help="Reports as .csv, .json (STIX 2.1) or .parquet; else what waits."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write what was refused, row by row, to this .csv.")
    ] = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and judge the file, and change nothing.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Change nothing if any row is refused.")
    ] = False,
    epoch_change: Annotated[
        bool, typer.Option("--epoch-change", help="Publish only if a new epoch has begun.")
    ] = False,
    resynchronise: Annotated[
        bool,
        typer.Option(
            "--resynchronise",
            help="First take over the table that the hub has, after a backup was restored.",
        ),
    ] = False,
    by: AsOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Enter a file of reports, and bring the table at the hub up to date."""
    from clients.feed.connecting import connected

    with _opened(directory, by) as (home, register, actor, permitting):
        value: dict[str, Any] = {}
        text = ""
        if file is not None:
            enter = permitting.intake()
            value, text = _take_in(
                home, register, file, actor, report, enter=enter, keep=not dry_run, strict=strict
            )
            if dry_run or value["stopped"]:
                following = f"lianfang feed publish {directory} {file}"
                say(output, value, text, following)
                raise typer.Exit(EXIT_CONFIG if value["stopped"] else 0)
            if output is Format.TEXT:
                # Said before the network has its say, so that it is not lost with it.
                typer.echo(text, err=True)
        with (
            _bars(output) as progress,
            connected(home, register, permitting, progress=progress) as hub,
        ):
            if resynchronise:
                from clients.feed.adopting import resynchronise as take_over

                take_over(hub.drafter, hub.api)
            if epoch_change and not hub.publisher.is_epoch_new():
                say(output, value | {"state": "same epoch"}, "The epoch has not changed.",
                    f"lianfang feed status {directory}")  # fmt: skip
                return
            found = hub.publisher.publish(actor)
        say(output, value | _published(found), _published_text(found), _after(directory, found))
    _leave(found, all_refused=bool(value) and not value["accepted"] and bool(value["refused"]))


@app.command()
def withdraw(
    directory: Directory,
    reason: Annotated[
        str, typer.Option(help="Why, for the register; name no person: others see this line.")
    ],
    report_id: Annotated[
        Path | None, typer.Option(help="A file with one report number a line.")
    ] = None,
    *,
    report_id_stdin: Annotated[
        bool, typer.Option("--report-id-stdin", help="Read the numbers from standard input.")
    ] = False,
    by: AsOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Withdraw reports and publish the correction at once."""
    from clients.feed.connecting import connected
    from clients.feed.defects import refusal_table
    from clients.feed.withdrawing import read_numbers, withdraw_reports

    numbers = read_numbers(_given(report_id, stdin=report_id_stdin))
    with _opened(directory, by, reason) as (home, register, actor, permitting):
        found = withdraw_reports(register, numbers, actor, enter=permitting.withdrawal(reason))
        if found.refusals and output is Format.TEXT:
            typer.echo(f"Not withdrawn, by line:\n{refusal_table(found.refusals)}", err=True)
        with (
            _bars(output) as progress,
            connected(home, register, permitting, progress=progress) as hub,
        ):
            done = hub.publisher.publish(actor)
        value = {
            "withdrawn": found.withdrawn,
            "unchanged": found.unchanged,
            "refusals": _rows(found.refusals),
        }
        text = f"Withdrew {found.withdrawn:,} reports, {found.unchanged:,} were already withdrawn."
        say(output, value | _published(done), f"{text}\n{_published_text(done)}",
            _after(directory, done))  # fmt: skip
    _leave(done, all_refused=bool(found.refusals))


@app.command()
def status(directory: Directory, output: Formatted = Format.TEXT) -> None:
    """Show the register by state and category, what is published and what waits."""
    from clients.feed.standing import describe, describe_text

    with _opened(directory, "", acts=False) as (home, register, actor, _):
        found = describe(home, register, actor)
    following = f"lianfang feed publish {directory}"
    say(output, found, describe_text(found), following)


@app.command()
def readers(directory: Directory, output: Formatted = Format.TEXT) -> None:
    """Show which readers have signed that they apply the table in force; 3 if one is behind."""
    from clients.feed.home import FeedHome
    from clients.feed.readers import readers_text, who_applies
    from clients.node.home import Home

    found = who_applies(FeedHome(Home(directory)))
    say(output, found, readers_text(found), f"lianfang feed status {directory}")
    if found["behind"] or found["refused"]:
        raise typer.Exit(EXIT_REFUSED)


@app.command()
def canaries(
    directory: Directory,
    count: Annotated[int, typer.Option(min=1, max=100_000, help="How many to add.")],
    by: AsOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Add identifiers that belong to nobody, whose lookup shows that numbers are guessed."""
    from clients.feed.canaries import make_canaries

    with _opened(directory, by) as (home, register, actor, permitting):
        enter = permitting.intake()
        make_canaries(register, count, home.settings(), actor, os.urandom, enter=enter)
        known = register.canaries()
    say(
        output,
        {"added": count, "canaries": known},
        f"Added {count:,} canaries; there are {known:,}. They are published with what else waits.",
        f"lianfang feed publish {directory}",
    )


@contextmanager
def _opened(
    directory: Path, by: str, reason: str = "", *, acts: bool = True
) -> Iterator[tuple[FeedHome, Register, Actor, Permitting]]:
    """Open the feed of a node for one command.

    Args:
        by: the account that acts; the organisation's own program if empty.
        acts: whether anything is changed, so that it matters who acts.
    """
    from clients.acting import acting
    from clients.feed.home import FeedHome
    from clients.feed.permitting import Permitting
    from clients.feed.register import Actor
    from clients.node.home import Home
    from clients.office import node_office

    node = Home(directory)
    node.config()  # a directory that is no node is told before anything is made in it
    home = FeedHome(node)
    with ExitStack() as ending:
        office = ending.enter_context(node_office(node))
        who = acting(directory, office, name=by) if acts else None
        register = home.register()
        ending.callback(register.close)
        name = who.account if who is not None and who.account else office.name
        permitting = Permitting(office, None if who is None else who.by)
        yield home, register, Actor(name, int(time.time()), reason), permitting


def _take_in(
    home: FeedHome,
    register: Register,
    file: Path,
    actor: Actor,
    report: Path | None,
    *,
    enter: Enter,
    keep: bool,
    strict: bool,
) -> tuple[dict[str, Any], str]:
    """Enter a file; returns what to say of it."""
    from clients.feed.defects import refusal_table, store_refusals
    from clients.feed.intake import open_input, take_in

    settings, benign = home.settings(), home.benign()

    def read(*, kept: bool) -> Any:
        source = open_input(file, settings.defaults(actor.now))
        return take_in(register, source, settings, benign, actor, enter=enter, keep=kept)

    # Strictness needs a first reading that keeps nothing: most inputs are good throughout.
    found = read(kept=keep and not strict)
    stopped = strict and bool(found.refusals)
    if keep and strict and not stopped:
        found = read(kept=True)
    if report is not None:
        store_refusals(report, found.refusals)
    effects = {effect.value: count for effect, count in found.effects.items()}
    value = {
        "accepted": found.accepted,
        "refused": found.refused_rows,
        "refusals": _rows(found.refusals),
        "note": found.note,
        "stopped": stopped,
    } | {name: effects.get(name, 0) for name in ("new", "changed", "unchanged")}
    lines = [found.note] if found.note else []
    lines.append(
        f"{value['new']:,} new reports, {value['changed']:,} changed, "
        f"{value['unchanged']:,} known already, {found.refused_rows:,} rows refused."
    )
    if found.refusals:
        lines.append(refusal_table(found.refusals))
    if not keep or stopped:
        lines.append("Nothing was changed.")
    return value, "\n".join(lines)


def _given(path: Path | None, *, stdin: bool) -> bytes:
    if (path is None) != stdin:
        raise typer.BadParameter("give either --report-id FILE or --report-id-stdin")
    return sys.stdin.buffer.read() if path is None else path.read_bytes()


def _rows(refusals: list[Refusal]) -> list[dict[str, Any]]:
    return [
        {"row": one.row, "field": one.field, "rule": one.rule, "cure": one.cure} for one in refusals
    ]


def _published(found: Published) -> dict[str, Any]:
    return {
        "state": "published" if found.is_new else "unchanged",
        "epoch": found.epoch,
        "version": found.version,
        "records": found.count,
        "upserted": found.upserted,
        "removed": found.removed,
        "expired": found.expired,
        "left": found.left,
        "missed": str(found.missed) if found.missed else "",
    }


def _published_text(found: Published) -> str:
    lines = [
        f"Published version {found.version} of epoch {found.epoch}: {found.count:,} records, "
        f"{found.upserted:,} new or changed, {found.removed:,} removed."
        if found.is_new
        else f"Nothing to publish: version {found.version} of epoch {found.epoch} says all, "
        f"{found.count:,} records."
    ]
    if found.left:
        lines.append(f"{found.left:,} records wait: {found.missed}")
    return "\n".join(lines)


def _after(directory: Path, found: Published) -> str:
    return f"lianfang feed {'publish' if found.left else 'status'} {directory}"


def _leave(found: Published, *, all_refused: bool) -> None:
    """End with the code of the worst that happened."""
    from clients.lookup.https import HubRefusedError

    if found.missed is not None:
        raise typer.Exit(EXIT_REFUSED if isinstance(found.missed, HubRefusedError) else EXIT_FAILED)
    if all_refused:
        raise typer.Exit(EXIT_CONFIG)


@contextmanager
def _bars(output: Format) -> Iterator[Progress | None]:
    """Show progress on a terminal, and nowhere else."""
    if output is Format.JSON or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield show
