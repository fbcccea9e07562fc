"""The options by which commands choose entries of a log, and how entries are told."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from compliance.exports.filters import Filter
    from protocols.tlog.entry import Entry
    from protocols.tlog.policy import Policy


class VerbName(StrEnum):
    """The verbs of entries, for the command line; see `protocols.tlog.entry.Verb`."""

    COLLECT = "collect"
    ALTER = "alter"
    CONSULT = "consult"
    DISCLOSE = "disclose"
    COMBINE = "combine"
    ERASE = "erase"


class OutcomeName(StrEnum):
    """The outcomes of entries; see `protocols.tlog.entry.Outcome`."""

    HIT = "hit"
    MISS = "miss"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


LogPath = Annotated[
    Path, typer.Argument(metavar="LOG", help="An exported log or a pack: directory or zip.")
]
PolicyFile = Annotated[
    Path | None,
    typer.Option("--policy", help="Whose signatures count; else the log's own policy.txt."),
]
Since = Annotated[
    str, typer.Option(help="From this day or time on, as 2026-12-01[T08:00[+08:00]].")
]
Until = Annotated[str, typer.Option(help="Up to this day or time, without it; UTC if no zone.")]
VerbOption = Annotated[VerbName | None, typer.Option("--verb", help="What was done.")]
OutcomeOption = Annotated[OutcomeName | None, typer.Option("--outcome", help="What came of it.")]
Who = Annotated[str, typer.Option("--organisation", help="Who acted.")]
Actor = Annotated[str, typer.Option(help="The beginning of a pseudonym.")]
Recipient = Annotated[str, typer.Option(help="Who received something.")]
Purpose = Annotated[str, typer.Option(help="An IRI, or what stands behind its #.")]
AgreementOption = Annotated[str, typer.Option("--agreement", help="Name, or first digits of hash.")]
RunOption = Annotated[str, typer.Option("--run", help="The run that was charged.")]
Text = Annotated[str, typer.Option(help="Stands in subject matter, basis, policies or charge.")]


def make_filter(
    *, since: str, until: str, verb: VerbName | None, outcome: OutcomeName | None, **rest: str
) -> Filter:
    """Return the filter of a command's options."""
    from compliance.exports.filters import Filter
    from protocols.tlog.entry import Outcome, Verb

    return Filter(
        since=parse_time(since, "--since") if since else None,
        until=parse_time(until, "--until") if until else None,
        verb=None if verb is None else Verb(verb.value),
        outcome=None if outcome is None else Outcome(outcome.value),
        **rest,
    )


def parse_time(text: str, option: str) -> int:
    """Read a day or a time; without a zone it is UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option}: must be a day or time, as 2026-12-01") from error
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())


def format_time(at: int) -> str:
    """Write a time for people."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return str(at)  # an entry may say any number of seconds


def load_policy(file: Path | None, inside: Policy | None, where: Path) -> tuple[Policy, bool]:
    """Return the policy to believe, and whether it was given rather than found in the log.

    Raises:
        ConfigError: there is none, or the file cannot be read.
    """
    from compliance.configuration import ConfigError
    from protocols.tlog.policy import Policy

    if file is not None:
        try:
            return Policy.decode(file.read_bytes()), True
        except OSError as error:
            raise ConfigError(f"{file.name}: cannot be read; correct the path") from error
    if inside is None:
        raise ConfigError(
            f"policy: {where.name} has no policy.txt; give --policy FILE with the keys of the "
            "log and its witnesses"
        )
    return inside, False


def entry_row(entry: Entry) -> str:
    """Write an entry as one line for people."""
    purpose = entry.purpose.rpartition("#")[2] or entry.purpose
    to = f" -> {', '.join(entry.recipients)}" if entry.recipients else ""
    run = f" run {entry.charge.run} {entry.charge.label}" if entry.charge else ""
    return (
        f"{entry.sequence:>8}  {format_time(entry.time)}  {entry.organisation} "
        f"{entry.actor.hex()[:8]}  {entry.verb} {entry.subject_matter}{to}  {purpose}  "
        f"{entry.outcome} {entry.count}{run}"
    )


def entry_value(entry: Entry) -> dict[str, Any]:
    """Write an entry as the JSON object that was logged."""
    found: dict[str, Any] = json.loads(entry.encode())
    return found
