"""`lianfang audit fetch`: take a copy of the hub's log, verified, and refuse one that forked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clients.audit.cli_options import format_time
from compliance.commands.output import Format, Formatted, say

if TYPE_CHECKING:
    from clients.audit.fetching import Fetched
    from clients.node.home import Home


def fetch(
    node: Annotated[Path, typer.Argument(metavar="NODE", help="The node's directory.")],
    out: Annotated[Path, typer.Option(help="The copy: a new directory, or one to bring on.")],
    year: Annotated[
        int, typer.Option(help="Which log; that of the copy otherwise, or the newest.")
    ] = 0,
    minimum: Annotated[
        int, typer.Option(min=0, help="Entries below may be missing: retention is over.")
    ] = 0,
    output: Formatted = Format.TEXT,
) -> None:
    """Fetch the hub's log over its API, verify all of it, and keep it; 1 if it does not hold."""
    from clients.audit.fetching import LogCopy, LogSource
    from clients.keys import credentials
    from clients.lookup.https import TIMEOUT_S, Https
    from clients.lookup.logged import POLICY, LogPin
    from clients.lookup.trust import Trust
    from clients.node.home import Home
    from compliance.clock import SystemClock
    from compliance.configuration import ConfigError
    from compliance.progress import progress_bar

    home = Home(node)
    trust, address = Trust(home), home.config().api
    if not address:
        raise ConfigError("node.json: no address of the hub's API; run `lianfang node join`")
    https = Https(address, credentials(home.keys), TIMEOUT_S)
    shown = output is Format.TEXT
    try:
        copy = LogCopy(
            home,
            LogPin(home, trust.hub_identity),
            LogSource(lambda path, limit: https.fetch(path, limit=limit)),
            out,
            now=SystemClock().now(),
            minimum=minimum,
        )
        with (
            progress_bar("fetch", shown=shown) as on_fetch,
            progress_bar("verify", shown=shown) as on_verify,
        ):
            done = copy.fetch(year, on_fetch=on_fetch, on_verify=on_verify)
    finally:
        https.close()
    policy = _policy(home, out, done, POLICY)
    value = _value(done) | {"out": str(out), "policy": str(policy)}
    say(output, value, _text(done), f"lianfang audit verify {out} --policy {policy}")


def _policy(home: Home, out: Path, done: Fetched, name: str) -> Path:
    """Return the file of the policy; where the officer gave none, that of the pinned key."""
    given = home.root / name
    if given.exists():
        return given
    beside = out.with_name(f"{out.name}.policy")
    beside.write_bytes(done.policy.encode())
    return beside


def _value(done: Fetched) -> dict[str, Any]:
    report = done.report
    return {
        "log": report.origin,
        "size": report.size,
        "since": done.since,
        "entries": report.entries,
        "missing": report.pruned,
        "files": done.files,
        "cosigned": dict(report.cosigned),
    }


def _text(done: Fetched) -> str:
    report = done.report
    lines = [
        f"Holds: {report.origin}, {report.size} entries, {report.size - done.since} of them new."
    ]
    if report.pruned:
        lines.append(f"{report.entries} are here; {report.pruned} are past their retention.")
    seen = [f"{name} at {format_time(at)}" for name, at in sorted(report.cosigned.items())]
    lines.append(
        f"Cosigned by {', '.join(seen)}."
        if seen
        else "No witness was asked for: give NODE/log.policy the keys of the log's witnesses."
    )
    return "\n".join(lines)
