"""`lianfang audit alarms` and `alarm settle`: what an officer should look at, and what it was.

An exported log is searched by what its entries say. A node's own log is searched with its
private parts as well, by an officer of the node; what was settled there is not shown again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clients.audit.cli_options import format_time
from compliance.commands.acting import AsOption
from compliance.commands.output import EXIT_REFUSED, Format, Formatted, say

if TYPE_CHECKING:
    from compliance.exports.finding import Finding
    from compliance.exports.rules import AnyRule
    from compliance.exports.settled import Settlement
    from compliance.office.office import Office
    from compliance.staff.acting import Acting

app = typer.Typer(help="Settle what was found.", no_args_is_help=True)

Rules = Annotated[Path | None, typer.Option(help="A file of rules, instead of ours.")]
_NODE = "node.json"


def alarms(
    path: Annotated[
        Path,
        typer.Argument(metavar="LOG|NODE", help="An exported log, a pack, or a node's directory."),
    ],
    rules: Rules = None,
    by: AsOption = "",
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Of a node: settled ones as well.")
    ] = False,
    output: Formatted = Format.TEXT,
) -> None:
    """Search a log for what an officer should look at; ends with 3 if something is open."""
    if (path / _NODE).is_file():
        _search_own(path, rules, by, everything=everything, output=output)
    else:
        _search_export(path, rules, output)


@app.command()
def settle(
    directory: Annotated[Path, typer.Argument(help="The node's directory.")],
    alarm: Annotated[str, typer.Argument(help="The id that `audit alarms` shows.")],
    finding: Annotated[str, typer.Option(help="What it was; it is kept sealed in the log.")],
    rules: Rules = None,
    by: AsOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Settle an alarm of the node's own log; it is not shown again unless it grows."""
    from compliance.configuration import ConfigError
    from compliance.exports.settled import settle as enter

    with _office(directory, by) as (office, who):
        found = _find_own(office, who, _load(rules), output)
        open_ones = [item for item, done in found if done is None]
        wanted = next((item for item in open_ones if item.id == alarm), None)
        if wanted is None:
            raise ConfigError(
                f"alarm: none of this id is open; see `lianfang audit alarms {directory}`"
            )
        place = enter(office, who, wanted, finding=finding)
    value = {"alarm": alarm, "rule": wanted.rule, "log": place.origin, "entry": place.index}
    text = f"Settled {alarm} ({wanted.rule}); {len(open_ones) - 1} are open."
    say(output, value, text, f"lianfang audit alarms {directory}")


def _search_export(path: Path, rules: Path | None, output: Format) -> None:
    from compliance.exports.alarms import find_alarms
    from compliance.exports.finding import Seen
    from compliance.exports.source import open_source

    known = _load(rules)
    with open_source(path) as source:
        origin = source.checkpoint().origin
        found = find_alarms((Seen(entry, origin) for entry in source.entries()), known)
    asked = [rule for rule in known if not rule.needs_parts]
    _say(output, [(item, None) for item in found], known, asked,
         f"lianfang audit search {path} --actor PSEUDONYM")  # fmt: skip


def _search_own(
    path: Path, rules: Path | None, by: str, *, everything: bool, output: Format
) -> None:
    known = _load(rules)
    with _office(path, by) as (office, who):
        found = _find_own(office, who, known, output)
    shown = [item for item in found if everything or item[1] is None]
    _say(output, shown, known, known, f"lianfang audit alarm settle {path} ID --finding WHAT")


def _find_own(
    office: Office, who: Acting, rules: Sequence[AnyRule], output: Format
) -> list[tuple[Finding, Settlement | None]]:
    """Search the own log; that it is read is entered first."""
    from compliance.exports.alarms import find_alarms
    from compliance.exports.own import own_entries
    from compliance.exports.settled import settlement
    from compliance.office.about import About
    from compliance.progress import progress_bar
    from protocols.tlog.entry import Verb

    who.perform(office, "read_log", About(Verb.CONSULT, "log", subject="alarms"))
    with progress_bar("alarms", shown=output is Format.TEXT) as progress:
        found = find_alarms(own_entries(office, progress), rules, now=office.clock.now())
    return [(item, settlement(office, item)) for item in found]


@contextmanager
def _office(directory: Path, by: str) -> Iterator[tuple[Office, Acting]]:
    from clients.acting import acting
    from clients.node.home import Home
    from clients.office import node_office

    with node_office(Home(directory)) as office:
        yield office, acting(directory, office, name=by)


def _load(file: Path | None) -> tuple[AnyRule, ...]:
    from compliance.configuration import ConfigError
    from compliance.exports.rules import parse_rules, shipped_rules

    try:
        return shipped_rules() if file is None else parse_rules(file.read_bytes())
    except OSError as error:
        raise ConfigError("rules: the file cannot be read; correct the path") from error


def _say(
    output: Format,
    found: list[tuple[Finding, Settlement | None]],
    known: Sequence[AnyRule],
    asked: Sequence[AnyRule],
    following: str,
) -> None:
    titles = {rule.id: rule.title for rule in known}
    lines = [_text(item, done, titles[item.rule].en) for item, done in found]
    unasked = [rule.id for rule in known if rule not in asked]
    if unasked:
        lines.append(f"Not asked, as they need the owner's private parts: {', '.join(unasked)}.")
    if not found:
        lines.insert(0, f"Nothing found by {len(asked)} rules.")
    value = {
        "rules": [rule.id for rule in asked],
        "not_asked": unasked,
        "alarms": [
            item.fields()
            | {"en": titles[item.rule].en, "zh": titles[item.rule].zh, "settled": _settled(done)}
            for item, done in found
        ],
    }
    say(output, value, "\n".join(lines), following)
    if any(done is None for _, done in found):
        raise typer.Exit(EXIT_REFUSED)


def _text(item: Finding, done: Settlement | None, title: str) -> str:
    log = "" if item.log == item.last_log else f" of {item.last_log}"
    lines = (
        f"{item.id}  {item.rule}: {title}\n"
        f"  {item.organisation} {item.actor[:8]}  {item.value:g}, allowed {item.limit:g}; entries "
        f"{item.first_entry} to {item.last_entry}{log}, {format_time(item.first)} to "
        f"{format_time(item.last)}"
    )
    if done is None:
        return lines
    return f"{lines}\n  settled {format_time(done.at)} by {done.actor[:8]}: {done.finding}"


def _settled(done: Settlement | None) -> dict[str, Any] | None:
    if done is None:
        return None
    return {
        "at": done.at, "by": done.actor, "log": done.place.origin, "entry": done.place.index,
        "finding": done.finding,
    }  # fmt: skip
