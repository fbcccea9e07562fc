"""`lianfang audit incident`: open, list, show, note, report, close.

The texts of an incident lie readably in the node's own directory and in the reports made of
them. They name no person; what looks like an identifier is refused.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clients.audit.cli_options import format_time, parse_time
from compliance.commands.acting import AsOption, SecondOption
from compliance.commands.output import EXIT_REFUSED, Format, Formatted, say

if TYPE_CHECKING:
    from compliance.agreement.profile import Profile
    from compliance.agreement.vocabulary import Title
    from compliance.incidents.acts import IncidentDesk
    from compliance.incidents.clocks import Clock
    from compliance.incidents.incident import Affected, Incident, Span
    from compliance.office.office import Office

app = typer.Typer(help="What went wrong, and whom it must be told by when.", no_args_is_help=True)

Directory = Annotated[Path, typer.Argument(help="The node's directory.")]
Number = Annotated[int, typer.Argument(min=1, help="The incident's number.")]
Flows = Annotated[
    list[str] | None, typer.Option("--flow", help="WHAT:FROM:TO, such as report:police:insurer.")
]
DataSets = Annotated[list[str] | None, typer.Option("--data-set", help="A data set's name.")]
Alarms = Annotated[list[str] | None, typer.Option("--alarm", help="The id of an alarm.")]
Evidence = Annotated[
    list[str] | None, typer.Option("--evidence", help="Entries of the own log: [LOG:]FIRST[-LAST].")
]
Special = Annotated[
    list[str] | None, typer.Option("--special", help="A special category of the profile.")
]
Records = Annotated[int | None, typer.Option(min=0, help="How many records, if known.")]
Persons = Annotated[int | None, typer.Option(min=0, help="How many persons, if known.")]
At = Annotated[str, typer.Option(help="When; a day or time with zone, else UTC. Now if empty.")]


class Language(StrEnum):
    """In which language a report is written."""

    ZH = "zh"
    EN = "en"


class Written(StrEnum):
    """How a report is written."""

    MARKDOWN = "markdown"
    JSON = "json"


@app.command(name="open")
def open_(
    directory: Directory,
    what: Annotated[str, typer.Option(help="What happened; names no person.")],
    noticed: At = "",
    sector: Annotated[str, typer.Option(help="Of the profile; else that of the agreement.")] = "",
    profile: Annotated[str, typer.Option(help="tw or eu; else that of the agreement.")] = "",
    flow: Flows = None,
    data_set: DataSets = None,
    alarm: Alarms = None,
    evidence: Evidence = None,
    special: Special = None,
    records: Records = None,
    persons: Persons = None,
    by: AsOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Open an incident; from then on its clocks are watched."""
    from compliance.incidents.acts import Opening

    with _desk(directory, by) as desk:
        found, own = _profile(desk.office, profile)
        opening = Opening(
            profile=found,
            sector=sector or own,
            noticed=parse_time(noticed, "--noticed") if noticed else int(time.time()),
            text=what,
            affected=_affected(
                desk.office, flow, data_set, alarm, evidence, special, records, persons
            ),
        )
        incident = desk.open(opening)
    _say(output, directory, incident, f"Opened incident {incident.number}.")


@app.command(name="list")
def list_(
    directory: Directory,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Closed ones as well.")] = False,
    output: Formatted = Format.TEXT,
) -> None:
    """List the incidents that are open; ends with 3 while somebody is told too late."""
    from compliance.incidents.book import Incidents

    now = int(time.time())
    found = [item for item in Incidents(directory).all() if everything or item.is_open]
    late = [item.number for item in found if any(clock.left_s < 0 for clock in item.untold(now))]
    lines = [_line(item, now) for item in found]
    value = {"incidents": [_value(item, now) for item in found], "overdue": late}
    text = "\n".join(lines) or "No incident is open."
    say(output, value, text, f"lianfang audit incident show {directory} NUMBER")
    if late:
        raise typer.Exit(EXIT_REFUSED)


@app.command()
def show(directory: Directory, number: Number, output: Formatted = Format.TEXT) -> None:
    """Show one incident: its clocks, what is affected, and what was done."""
    from compliance.incidents.book import Incidents

    _say(output, directory, Incidents(directory).find(number), "")


@app.command()
def note(
    directory: Directory,
    number: Number,
    text: Annotated[str, typer.Option(help="What was found out, done or told; names no person.")],
    told: Annotated[str, typer.Option(help="The id of the clock that stops: who was told.")] = "",
    whom: Annotated[str, typer.Option(help="Who else was told.")] = "",
    at: At = "",
    flow: Flows = None,
    data_set: DataSets = None,
    alarm: Alarms = None,
    evidence: Evidence = None,
    special: Special = None,
    records: Records = None,
    persons: Persons = None,
    by: AsOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Add what was found out or done; with --told or --whom, that somebody was told."""
    from compliance.configuration import ConfigError
    from compliance.incidents.incident import Affected

    with _desk(directory, by) as desk:
        added = _affected(desk.office, flow, data_set, alarm, evidence, special, records, persons)
        is_telling = bool(told or whom)
        if is_telling and added != Affected():
            raise ConfigError("--told, --whom: say what is affected in a note of its own")
        if at and not is_telling:
            raise ConfigError("--at: belongs to --told or --whom")
        if is_telling:
            told_at = parse_time(at, "--at") if at else int(time.time())
            incident = desk.tell(number, text, told_at=told_at, deadline=told, whom=whom)
        else:
            incident = desk.note(number, text, added)
    _say(output, directory, incident, f"Added to incident {number}.")


@app.command()
def report(
    directory: Directory,
    number: Number,
    to: Annotated[str, typer.Option(help="The id of the clock: to whom, such as authority-72h.")],
    out: Annotated[Path, typer.Option(help="The file to write; must not exist.")],
    reason: Annotated[str, typer.Option(help="Why it is written out.")],
    language: Annotated[Language, typer.Option("--lang", help="zh or en.")] = Language.ZH,
    written: Annotated[
        Written, typer.Option("--as-format", help="markdown or json.")
    ] = Written.MARKDOWN,
    by: AsOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Write the file for one of those who must be told, with the log's evidence."""
    from compliance.configuration import ConfigError
    from compliance.files import write_atomically
    from compliance.incidents.evidence import log_evidence

    if out.exists():
        raise ConfigError(f"{out.name}: exists already; choose another name")
    with _desk(directory, by) as desk:
        desk.book.find(number).deadline(to)
        incident = desk.export(number, reason=reason)
        proofs = log_evidence(desk.office, incident)
        titles = _titles(desk.office, incident)
        data = _write(incident, to, proofs, titles, written, language)
    write_atomically(out, data)
    value = {"incident": number, "to": to, "file": str(out), "proofs": len(proofs.proofs)}
    text = f"Wrote {out}; {len(proofs.proofs)} of its events are proven by the log."
    following = f"lianfang audit incident note {directory} {number} --told {to} --text WHAT"
    say(output, value, text, following)


@app.command()
def close(
    directory: Directory,
    number: Number,
    finding: Annotated[str, typer.Option(help="What it was; names no person.")],
    reason: Annotated[str, typer.Option(help="Why it can be closed.")],
    untold: Annotated[
        str, typer.Option("--not-told", help="Why those whose clocks stand were not told.")
    ] = "",
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Close an incident, with a second person."""
    with _desk(directory, by, second) as desk:
        incident = desk.close(number, finding=finding, reason=reason, untold=untold)
    _say(output, directory, incident, f"Closed incident {number}.")


@contextmanager
def _desk(directory: Path, by: str, second: str = "") -> Iterator[IncidentDesk]:
    from clients.acting import acting
    from clients.node.home import Home
    from clients.office import node_office
    from compliance.incidents.acts import IncidentDesk
    from compliance.incidents.book import Incidents

    with node_office(Home(directory)) as office:
        who = acting(directory, office, name=by, second=second)
        yield IncidentDesk(Incidents(directory), office, who)


def _profile(office: Office, name: str) -> tuple[Profile, str]:
    """Return the profile, and our own sector in it, or nothing.

    Raises:
        ConfigError: none is named, and no agreement is in force that would.
    """
    from compliance.agreement.profile import shipped_profile
    from compliance.configuration import ConfigError

    agreement = office.agreement()
    party = None if agreement is None else agreement.party(office.name)
    sector = "" if party is None else party.sector
    if name:
        return shipped_profile(name), sector
    if agreement is None:
        raise ConfigError("--profile, --sector: no agreement is in force; name tw or eu, and both")
    return office.agreements.profile(agreement), sector


def _affected(
    office: Office,
    flow: list[str] | None,
    data_set: list[str] | None,
    alarm: list[str] | None,
    evidence: list[str] | None,
    special: list[str] | None,
    records: int | None,
    persons: int | None,
) -> Affected:
    from compliance.incidents.incident import Affected

    return Affected(
        flows=tuple(flow or ()),
        data_sets=tuple(data_set or ()),
        alarms=tuple(alarm or ()),
        evidence=tuple(_span(office, text) for text in evidence or ()),
        records=records,
        persons=persons,
        special=tuple(special or ()),
    )


def _span(office: Office, text: str) -> Span:
    from compliance.incidents.incident import Span

    log, _, entries = text.rpartition(":")
    first, _, last = entries.partition("-")
    if not first.isdecimal() or not (last or first).isdecimal():
        raise typer.BadParameter("--evidence: must be FIRST or FIRST-LAST, as 12-40")
    return Span(log or office.yearly.origin(), int(first), int(last or first))


def _titles(office: Office, incident: Incident) -> tuple[Title, Title]:
    """Return sector and organisation for people, as far as they are known here."""
    from compliance.agreement.profile import shipped_profile
    from compliance.agreement.vocabulary import Title

    agreement = office.agreement()
    party = None if agreement is None else agreement.party(incident.organisation)
    sector = shipped_profile(incident.profile.id).sector(incident.sector)
    plain = Title(incident.sector, incident.sector)
    name = Title(incident.organisation, incident.organisation)
    return plain if sector is None else sector.title, name if party is None else party.title


def _write(
    incident: Incident,
    to: str,
    proofs: Any,
    titles: tuple[Title, Title],
    written: Written,
    language: Language,
) -> bytes:
    import json

    from compliance.incidents.report import report_fields, report_text

    sector, organisation = titles
    given: dict[str, Any] = {
        "sector": sector, "organisation": organisation, "now": int(time.time()),
    }  # fmt: skip
    deadline = incident.deadline(to)
    if written is Written.JSON:
        value = report_fields(incident, deadline, proofs, **given)
        return json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n"
    return report_text(incident, deadline, proofs, **given, language=language.value).encode()


def _say(output: Format, directory: Path, incident: Incident, done: str) -> None:
    now = int(time.time())
    lines = [done] if done else []
    lines += [_line(incident, now), *(_clock_text(clock) for clock in incident.clocks(now))]
    if not done:
        lines += [f"  {format_time(item.at)}  {item.kind}: {item.text}" for item in incident.events]
    number = incident.number
    following = (
        f"lianfang audit incident report {directory} {number} --to CLOCK --out FILE --reason WHY"
        if incident.is_open
        else f"lianfang audit incident list {directory} --all"
    )
    say(output, _value(incident, now), "\n".join(lines), following)


def _line(incident: Incident, now: int) -> str:
    state = "open" if incident.is_open else "closed"
    standing = incident.untold(now)
    first = f"; {_clock_text(standing[0]).strip()}" if standing else ""
    return (
        f"Incident {incident.number} ({incident.sector}), {state}, noticed "
        f"{format_time(incident.noticed)}: {incident.what}{first}"
    )


def _clock_text(clock: Clock) -> str:
    hours = abs(clock.left_s) / 3600
    left = {"due": f"{hours:.1f} h left", "overdue": f"{hours:.1f} h too late"}
    doubt = ", to be confirmed" if clock.deadline.standing.value == "to_be_confirmed" else ""
    return (
        f"  {clock.deadline.id}: {clock.deadline.whom.en} {clock.deadline.whom.zh}, by "
        f"{format_time(clock.due)}: {left.get(clock.state.value, clock.state.value)} "
        f"({clock.deadline.source}{doubt})"
    )


def _value(incident: Incident, now: int) -> dict[str, Any]:
    closing = incident.closing
    return {
        "incident": incident.number,
        "open": incident.is_open,
        "sector": incident.sector,
        "profile": incident.profile.id,
        "noticed": incident.noticed,
        "what": incident.what,
        "affected": incident.affected.fields(),
        "clocks": [clock.fields() for clock in incident.clocks(now)],
        "events": [
            {
                "kind": item.kind.value, "at": item.at, "by": item.by.hex(), "text": item.text,
                "log": item.place.origin, "entry": item.place.index, "whom": item.whom,
                "clock": item.deadline, "told_at": item.told_at or None,
            }
            for item in incident.events
        ],
        "finding": None if closing is None else closing.text,
    }  # fmt: skip
