"""`lianfang audit rights`: requests of persons, from receipt to certificate.

Exit codes: 3 also when `list --overdue` finds one. Identifiers come by a hidden prompt or by
--stdin; reasons and numbers on the command line name no person.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clients.rights.cli_dispute import app as dispute
from clients.rights.cli_erase import access, certificate, erase
from clients.rights.cli_hold import hold, holds, release
from clients.rights.cli_options import (
    Directory,
    Kind,
    KindName,
    Language,
    Number,
    Profile,
    Reason,
    Stdin,
    Tongue,
)
from compliance.commands.acting import AsOption
from compliance.commands.output import EXIT_REFUSED, Format, Formatted, say

if TYPE_CHECKING:
    from clients.rights.counter import Counter
    from compliance.rights.case import Case

app = typer.Typer(
    help="Persons' rights: access, correction, objection, erasure, disputes.",
    no_args_is_help=True,
)
app.add_typer(dispute, name="dispute")
for command in (access, erase, certificate, hold, holds, release):
    app.command()(command)


@app.command(name="open")
def open_(
    directory: Directory,
    kind: Annotated[KindName, typer.Argument(help="What the person asks for.")],
    *,
    identifier: Kind = "tw_person_id",
    stdin: Stdin = False,
    profile: Profile = "",
    by: AsOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Take in a request and print the receipt number for the person."""
    from clients.rights.counter import opened, read_texts
    from compliance.rights.kinds import Kind as RequestKind

    with opened(directory, by=by) as counter:
        texts = read_texts(identifier, many=stdin)
        chosen = RequestKind(kind.value)
        case = counter.rights.open(chosen, counter.profile(profile), texts, counter.who)
        _tell(counter, case, output, f"verify-identity {directory} {case.number}")


@app.command(name="list")
def list_(
    directory: Directory,
    *,
    overdue: Annotated[bool, typer.Option("--overdue", help="Only those that are late.")] = False,
    language: Tongue = Language.EN,
    output: Formatted = Format.TEXT,
) -> None:
    """List requests, open ones first by the day on which they are due."""
    import time

    from clients.rights.counter import case_fields, case_text, read_only

    now = int(time.time())
    with read_only(directory) as file:
        cases = [case for case in file.cases() if not overdue or case.is_overdue(now)]
    lines = [case_text(case, now, language) for case in cases] or ["None."]
    value = {"requests": [case_fields(case, now) for case in cases]}
    say(output, value, "\n".join(lines), f"lianfang audit rights show {directory} NUMBER")
    if overdue and cases:
        raise typer.Exit(EXIT_REFUSED)


@app.command()
def show(
    directory: Directory,
    number: Number,
    *,
    person: Annotated[
        bool, typer.Option("--person", help="Show contact and wish too; that is entered.")
    ] = False,
    by: AsOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Show what happened to a request."""
    from clients.rights.counter import case_fields, case_text, opened
    from compliance.rights.terms import terms_of
    from compliance.rights.words import time_text

    with opened(directory, by=by) as counter:
        file, now = counter.rights.file, counter.rights.now
        case = file.case(number)
        value = case_fields(case, now)
        terms = terms_of(case.kind, case.profile)
        lines = [case_text(case, now, Language.EN), f"Article: {terms.right.source}"]
        if person:
            texts = counter.rights.show(number, counter.who)
            value |= {"contact": texts.contact, "wish": texts.wish}
            lines += [f"Contact: {texts.contact}", f"Wish: {texts.wish}"]
        events = file.events(number)
        value["events"] = [
            {"at": event.at, "what": event.what, "actor": event.actor.hex()} for event in events
        ]
        lines += [
            f"  {time_text(event.at, terms.calendar.offset_s)}  {event.what}  "
            f"{event.actor.hex()[:8]}"
            for event in events
        ]
        lines += [
            f"  refusal {one.code}: {one.title.en} ({one.source})"
            for one in terms.refusals.values()
        ]
        say(output, value, "\n".join(lines), f"lianfang audit rights list {directory}")


@app.command(name="verify-identity")
def verify_identity(
    directory: Directory,
    number: Number,
    reason: Annotated[str, typer.Option("--reason", help="How the person showed who it is.")],
    *,
    by: AsOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Note that who asks has shown to be the person."""
    with _acting(directory, by, reason) as counter:
        case = counter.rights.verify_identity(number, counter.who)
        _tell(counter, case, output, f"start {directory} {number}")


@app.command()
def start(
    directory: Directory, number: Number, *, by: AsOption = "", output: Formatted = Format.TEXT
) -> None:
    """Take a request into work."""
    with _acting(directory, by, "") as counter:
        case = counter.rights.take_up(number, counter.who)
        following = {"access": "access", "erasure": "erase"}.get(case.kind.value, "answer")
        _tell(counter, case, output, f"{following} {directory} {number}")


@app.command()
def extend(
    directory: Directory,
    number: Number,
    reason: Reason,
    *,
    by: AsOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Take the second period, once; tell the person the reason in writing."""
    with _acting(directory, by, reason) as counter:
        case = counter.rights.extend(number, counter.who)
        _tell(counter, case, output, f"show {directory} {number}")


@app.command()
def answer(
    directory: Directory,
    number: Number,
    what: Annotated[str, typer.Argument(help="granted, partly, refused or taken_back.")],
    *,
    code: Annotated[str, typer.Option(help="Ground of a refusal; `show` lists them.")] = "",
    reason: Annotated[str, typer.Option(help="For the log; names no person.")] = "",
    by: AsOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Note what the person was told."""
    from compliance.rights.kinds import Answer
    from protocols.errors import UnsupportedParameterError

    if what not in set(Answer):
        raise UnsupportedParameterError(f"answer: must be one of {', '.join(Answer)}")
    with _acting(directory, by, reason) as counter:
        case = counter.rights.answer(number, Answer(what), code, counter.who)
        _tell(counter, case, output, f"close {directory} {number}")


@app.command()
def close(
    directory: Directory, number: Number, *, by: AsOption = "", output: Formatted = Format.TEXT
) -> None:
    """End a request that was answered; after an erasure the person is forgotten here too."""
    with _acting(directory, by, "") as counter:
        case = counter.rights.close(number, counter.who)
        _tell(counter, case, output, f"list {directory}")


@contextmanager
def _acting(directory: Path, by: str, reason: str) -> Iterator[Counter]:
    from clients.rights.counter import opened

    with opened(directory, by=by, reason=reason) as counter:
        yield counter


def _tell(counter: Counter, case: Case, output: Format, following: str) -> None:
    from clients.rights.counter import case_fields, case_text

    now = counter.rights.now
    text = case_text(case, now, Language.EN)
    say(output, case_fields(case, now), text, f"lianfang audit rights {following}")
