"""`lianfang audit integrity`: what a board is told of a log: size, proofs, witnesses, retention."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clients.audit.cli_options import PolicyFile, format_time, load_policy
from compliance.commands.acting import AsOption
from compliance.commands.output import EXIT_FAILED, Format, Formatted, say

if TYPE_CHECKING:
    from compliance.exports.integrity import Integrity

_NODE = "node.json"
_DAY_S = 86_400


def integrity(
    path: Annotated[
        Path,
        typer.Argument(metavar="LOG|NODE", help="An exported log, a pack, or a node's directory."),
    ],
    policy: PolicyFile = None,
    minimum: Annotated[
        int, typer.Option(min=0, help="Of an export: entries below may be missing.")
    ] = 0,
    months: Annotated[
        int, typer.Option(min=0, help="For how long a year's log is kept; 0: as agreed, else 60.")
    ] = 0,
    by: AsOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Check a log, or a node's own of every year, and state what it is; ends with 1 at a fault."""
    now = int(time.time())
    witness: dict[str, Any] | None = None
    if (path / _NODE).is_file():
        found, witness = _own(path, months, by)
    else:
        found = [_export(path, policy, minimum, months)]
    value = {
        "logs": [item.fields(now) for item in found],
        "holds": all(item.holds for item in found),
        "witness": witness,
        "at": now,
    }
    lines = [_text(item, now) for item in found]
    if witness is not None:
        lines.append(f"Witness here: {witness['logs']} logs pinned, {witness['open']} alarms open.")
    following = (
        f"lianfang audit alarms {path}"
        if value["holds"]
        else "stop writing to this log, keep it as it is, and ask its witnesses for theirs"
    )
    say(output, value, "\n".join(lines), following)
    if not value["holds"]:
        raise typer.Exit(EXIT_FAILED)


def _export(path: Path, policy: Path | None, minimum: int, months: int) -> Integrity:
    from compliance.exports.integrity import FLOOR_MONTHS
    from compliance.exports.integrity import integrity as examine
    from compliance.exports.source import open_source

    with open_source(path) as source:
        known, _ = load_policy(policy, source.policy(), path)
        return examine(source, known, minimum=minimum, months=months or FLOOR_MONTHS)


def _own(path: Path, months: int, by: str) -> tuple[list[Integrity], dict[str, Any] | None]:
    """State the own log; that it is read is entered first."""
    from clients.acting import acting
    from clients.node.home import Home
    from clients.office import node_office
    from compliance.exports.integrity import FLOOR_MONTHS, own_integrity
    from compliance.office.about import About
    from protocols.tlog.entry import Verb

    with node_office(Home(path)) as office:
        who = acting(path, office, name=by)
        who.perform(office, "read_log", About(Verb.CONSULT, "log", subject="integrity"))
        agreement = office.agreement()
        agreed = FLOOR_MONTHS if agreement is None else agreement.retention.log_months
        found = list(own_integrity(office, path, months=months or agreed))
    return found, _witness(path)


def _witness(path: Path) -> dict[str, Any] | None:
    from clients.witness.status import describe

    if not (path / "witness").is_dir():
        return None
    status = describe(path)
    return {"logs": len(status["logs"]), "open": status["open"], "state": status["logs"]}


def _text(item: Integrity, now: int) -> str:
    if not item.holds:
        return f"{item.log}: DOES NOT HOLD: {item.fault}"
    gaps = item.gaps
    lines = [
        f"{item.log}: holds. {item.size} entries under the signed root {item.root[:16]}...",
        f"  here: {item.entries}, from index {item.minimum} on"
        + (f"; {item.pruned} past their retention" if item.pruned else ""),
        "  gaps: " + ("a selection, not the whole log" if gaps is None else _gaps(gaps)),
    ]
    if item.first is not None and item.last is not None:
        lines.append(
            f"  from {format_time(item.first)} to {format_time(item.last)}; longest silence "
            f"{item.silence_s / _DAY_S:.1f} days"
        )
    seen = [f"{name} at {format_time(at)}" for name, at in sorted(item.cosigned.items())]
    lines.append(f"  cosigned by {', '.join(seen) or 'nobody'}")
    if item.missing_witnesses:
        lines.append(f"  not cosigned by {', '.join(item.missing_witnesses)}")
    if item.kept_until is not None:
        over = ", which is over" if now >= item.kept_until else ""
        lines.append(f"  to be kept until {format_time(item.kept_until)}{over}")
    return "\n".join(lines)


def _gaps(gaps: tuple[tuple[int, int], ...]) -> str:
    return ", ".join(f"{first} to {last}" for first, last in gaps) or "none"
