"""`lianfang node`: init, join, renew, trust, start, inbox, approve, refuse, sent, close, doctor."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from clients.console.cli import console
from clients.node.cli_budget import budget
from clients.node.cli_map import map_table, refresh
from clients.node.cli_standing import leave, pause, resume
from clients.node.cli_token import token
from clients.output import CommandError
from compliance.commands.acting import AsOption
from compliance.commands.options import LogFormatOption
from compliance.commands.output import Format, Formatted, say
from compliance.commands.stopping import stop_event
from compliance.operation.settings import LogFormat

# A SuperNode that has died is found so soon; one that does not last is not started so often.
_REVIVE_EVERY_S = 3.0
_LOOK_EVERY_S = 0.5

app = typer.Typer(help="Run a partner's node.", no_args_is_help=True)
app.command(name="map")(map_table)
for _command in (refresh, pause, resume, leave, token):
    app.command()(_command)
app.command()(budget)
app.command()(console)

Directory = Annotated[Path, typer.Argument(help="The node's directory.")]
CertificateOption = Annotated[
    Path | None, typer.Option(help="A certificate of the company's own authority (PEM).")
]
KeyOption = Annotated[Path | None, typer.Option(help="Its private key, P-256 or P-384 (PEM).")]
ChainOption = Annotated[
    Path | None, typer.Option(help="The authorities above it, up to the root, in order (PEM).")
]
RunName = Annotated[str, typer.Argument(help="The run's name.")]


@app.command()
def init(
    directory: Directory,
    name: Annotated[str, typer.Option(help="This partner's name: a-z, 0-9 and -.")],
    table: Annotated[Path, typer.Option(help="The table, .parquet or .csv.")],
    contract: Annotated[Path, typer.Option(help="The feature contract, JSON.")],
    held_out_column: Annotated[
        str | None, typer.Option(help="A 0/1 column that fixes the held-out people.")
    ] = None,
    output: Formatted = Format.TEXT,
) -> None:
    """Make keys here and write the request to join a hub."""
    from clients.node.joining import make_node

    request = make_node(
        directory, name=name, table=table, contract=contract, held_out_column=held_out_column
    )
    say(
        output,
        {"name": name, "request": str(request)},
        f"Made keys and a standing policy in {directory}; nothing has left this machine.\n"
        f"Read {directory / 'policy.json'}, then join by a code of the hub's operator, or send "
        f"them {request}.",
        f"lianfang node join {directory} CODE, or WELCOME.json",
    )


@app.command()
def join(
    directory: Directory,
    welcome: Annotated[
        str,
        typer.Argument(help="The hub's code, - to be asked for it, or the welcome as a file."),
    ],
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for the decision of the hub's people.")
    ] = 3600.0,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    chain: ChainOption = None,
    output: Formatted = Format.TEXT,
) -> None:
    """Ask a hub by its code to be taken in, or keep the welcome that it sent as a file.

    With --certificate and --key the node keeps the company's own in place of one of the hub's.
    """
    from clients.node.brought import bring
    from clients.node.enrolling import join_by_code
    from clients.node.joining import keep_welcome
    from compliance.configuration import read_object
    from protocols.enrolment.code import is_code

    if (brought := _brought(certificate, key, chain)) is not None:
        bring(directory, *brought)
    if welcome == "-":
        # Typed here it stands in no list of processes and in no history.
        welcome = typer.prompt("Code", err=True)
    if is_code(welcome):
        hub = join_by_code(directory, welcome, wait_s=wait, say=lambda _: _tell_waiting(directory))
    else:
        hub = keep_welcome(directory, read_object(Path(welcome)))
    say(
        output,
        {"hub": hub},
        f"Joined the hub {hub}.",
        f"lianfang node trust {directory} PARTNER IDENTITY_KEY for each other partner",
    )


@app.command()
def renew(
    directory: Directory,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    chain: ChainOption = None,
    output: Formatted = Format.TEXT,
) -> None:
    """Get a new certificate for a new TLS key, or put the company's own in; all stays connected."""
    from clients.node.brought import is_brought, replace
    from clients.node.home import Home
    from clients.node.renewing import renew as renew_certificate

    brought = _brought(certificate, key, chain)
    if brought is None and is_brought(Home(directory).keys):
        raise CommandError(
            "renew: this node's certificate is the company's own; give --certificate"
        )
    made = renew_certificate(directory) if brought is None else replace(directory, *brought)
    until = int(made.not_valid_after_utc.timestamp())
    say(
        output,
        {"serial": f"{made.serial_number:x}", "until": until},
        f"Renewed: the certificate lasts until {made.not_valid_after_utc:%Y-%m-%d}.",
        f"lianfang node doctor {directory}",
    )


@app.command()
def trust(
    directory: Directory,
    partner: Annotated[str, typer.Argument(help="The other partner's name.")],
    identity: Annotated[
        str, typer.Argument(help="Its identity key, 64 hexadecimal digits, heard from itself.")
    ],
    output: Formatted = Format.TEXT,
) -> None:
    """Pin another partner's identity key; a run with any other key is refused."""
    from clients.node.joining import pin_peer

    pin_peer(directory, partner, identity)
    say(
        output,
        {"partner": partner},
        f"Pinned the key of {partner}.",
        f"lianfang node start {directory}",
    )


@app.command()
def start(
    directory: Directory,
    log_format: LogFormatOption = LogFormat.TEXT,
    output: Formatted = Format.TEXT,
) -> None:
    """Connect to the hub, hold a key share, take part in runs as policies say, until stopped."""
    from clients.holder.process import HolderProcess
    from clients.node.home import Home
    from clients.node.joining import supernode_of
    from clients.node.phases.closing import finish_ended
    from clients.node.renewing import Renewal
    from compliance.operation.logs import configure_logging

    configure_logging(log_format)
    finish_ended(Home(directory))  # what a crash broke off
    stop = stop_event()
    with Renewal(directory), supernode_of(directory) as supernode, HolderProcess(directory):
        typer.echo(f"connected; stop with Ctrl-C. Next: lianfang node inbox {directory}", err=True)
        looked_at = time.monotonic()
        # In pieces: a signal that another thread received is acted on only between two of them.
        while not stop.wait(_LOOK_EVERY_S):
            if time.monotonic() - looked_at > _REVIVE_EVERY_S:
                looked_at = time.monotonic()
                supernode.revive()
    say(output, {"state": "stopped"}, "Stopped.", f"lianfang node start {directory}")


@app.command()
def inbox(directory: Directory, output: Formatted = Format.TEXT) -> None:
    """List the runs that wait for a person here, and those decided."""
    from clients.node.deciding import pending

    found = pending(directory)
    lines = [f"{item['run']}: {item['state']}; {item['summary']}" for item in found] or [
        "No run waits for a decision."
    ]
    say(
        output,
        {"runs": found},
        "\n".join(lines),
        f"lianfang node approve {directory} RUN, or refuse with --reason",
    )


@app.command()
def approve(
    directory: Directory, run: RunName, by: AsOption = "", output: Formatted = Format.TEXT
) -> None:
    """Accept a run that waits here."""
    plan_hash = _decide(directory, run, by, accept=True, reason="")
    say(
        output,
        {"run": run, "accepted": True, "plan_hash": plan_hash},
        f"Accepted {run}, plan hash {plan_hash}.",
        f"lianfang node sent {directory} {run}",
    )


@app.command()
def refuse(
    directory: Directory,
    run: RunName,
    reason: Annotated[
        str, typer.Option(help="One sentence that the hub and the partners will read.")
    ],
    by: AsOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Refuse a run that waits here, with a reason."""
    plan_hash = _decide(directory, run, by, accept=False, reason=reason)
    say(
        output,
        {"run": run, "accepted": False, "plan_hash": plan_hash},
        f"Refused {run}.",
        f"lianfang node inbox {directory}",
    )


@app.command()
def sent(directory: Directory, run: RunName, output: Formatted = Format.TEXT) -> None:
    """Show what left this site in a run: bytes by phase and recipient, releases, epsilon."""
    from clients.node.deciding import account

    found = account(directory, run)
    say(output, found, _sent_text(found), f"lianfang node inbox {directory}")


@app.command()
def close(directory: Directory, run: RunName, output: Formatted = Format.TEXT) -> None:
    """End a run here whose hub has gone: free unspent budget, delete its keys, keep its record."""
    from clients.node.home import Home
    from clients.node.phases.closing import end
    from clients.node.session import Session

    record = end(Session.resume(Home(directory), run))
    say(
        output,
        {"run": run, "releases": len(record["releases"])},
        f"Closed {run}: {len(record['releases'])} releases stay paid, the rest is free again.",
        f"lianfang node sent {directory} {run}",
    )


@app.command()
def doctor(directory: Directory, output: Formatted = Format.TEXT) -> None:
    """Check this node and say how to mend what is wrong."""
    from clients.node.checks import examine
    from compliance.checkup import AGAIN, Examined

    findings = examine(directory)
    examined = Examined.of(findings)
    following = f"lianfang node start {directory}" if examined.good else AGAIN
    say(output, examined.fields(), examined.text, following)
    if not examined.good:
        raise typer.Exit(examined.exit)


def _brought(
    certificate: Path | None, key: Path | None, chain: Path | None
) -> tuple[Path, Path, Path | None] | None:
    """Return the files of a certificate that is brought along; None if none is."""
    if certificate is None and key is None and chain is None:
        return None
    if certificate is None or key is None:
        raise CommandError("certificate: give --certificate and --key together")
    return certificate, key, chain


def _tell_waiting(directory: Path) -> None:
    """Say that the request has arrived, and what the hub's people will ask on the telephone."""
    from clients.keys import load_keys
    from clients.node.home import Home

    key = load_keys(Home(directory).keys).identity.public_key().public_bytes_raw().hex()
    typer.echo(
        "The hub has the request, and two people there decide. Read this key to them by "
        f"telephone:\n{key}\nWaiting; Ctrl-C is safe, the same command goes on.",
        err=True,
    )


def _decide(directory: Path, run: str, by: str, *, accept: bool, reason: str) -> str:
    """Decide as the person of an account; returns the plan's hash."""
    from clients.acting import acting
    from clients.node.deciding import decide
    from clients.node.home import Home
    from clients.office import node_office

    with node_office(Home(directory)) as office:
        who = acting(directory, office, name=by)
        return decide(directory, run, accept=accept, reason=reason, by=who.by, office=office)


def _sent_text(found: dict[str, Any]) -> str:
    lines = [f"Run {found['run']}: {found['state']}"]
    for phase, recipients in found["sent_bytes"].items():
        for recipient, size in recipients.items():
            # What the hub itself is sent travels under TLS; it holds pseudonyms or shares.
            sealed = "for the hub to read" if recipient == "hub" else f"sealed for {recipient}"
            lines.append(f"  {phase:<14} {size:>12,} bytes  {sealed}")
    lines.append(
        f"  {len(found['releases'])} releases, "
        f"epsilon {found['epsilon']:.4f} at delta {found['delta']:g}"
    )
    return "\n".join(lines)
