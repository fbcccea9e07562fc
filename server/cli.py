"""`lianfang-hub`: init, approve, serve, propose, run, doctor.

Results go to standard output, progress to standard error. Heavy modules are imported by
the command that needs them, so that help is at hand at once.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

EXIT_FAILED = 1
EXIT_CONFIG = 4
_LOOK_EVERY_S = 0.5

app = typer.Typer(
    name="lianfang-hub",
    help="Run the hub: take partners in, serve the link and Flower, propose and start runs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Format(StrEnum):
    """How a command's result is written."""

    TEXT = "text"
    JSON = "json"


Directory = Annotated[Path, typer.Argument(help="The hub's directory.")]
Formatted = Annotated[Format, typer.Option("--format", help="text for people, json for machines.")]


def main() -> None:
    """Run the command line; known errors end with one clear line and their exit code."""
    from protocols.errors import ProtocolError
    from protocols.link import TransportError
    from server.home import ConfigError

    try:
        app()
    except (ConfigError, ProtocolError) as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(EXIT_CONFIG)
    except (TransportError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(EXIT_FAILED)


@app.command()
def init(
    directory: Directory,
    name: Annotated[
        str, typer.Option(help="The hub's name, the domain of all certificates.")
    ] = "lianfang",
    host: Annotated[str, typer.Option(help="Address that partners dial.")] = "127.0.0.1",
    link_port: Annotated[int, typer.Option(help="Port of the link; 0 takes a free one.")] = 9443,
    fleet_port: Annotated[
        int, typer.Option(help="Port for SuperNodes; 0 takes a free one.")
    ] = 9444,
    output: Formatted = Format.TEXT,
) -> None:
    """Make a hub: its authority, its certificates, its settings."""
    from server.home import HubHome, unix_now

    settings = HubHome(directory).create(
        name=name, host=host, link_port=link_port, fleet_port=fleet_port, now=unix_now()
    )
    _say(
        output,
        {
            "hub": settings.name,
            "host": host,
            "link_port": settings.link_port,
            "fleet_port": settings.fleet_port,
        },
        f"Made the hub {settings.name} in {directory}.",
        f"lianfang-hub approve {directory} REQUEST.json",
    )


@app.command()
def approve(
    directory: Directory,
    request: Annotated[Path, typer.Argument(help="The partner's join request.")],
    welcome: Annotated[
        Path | None, typer.Option("--out", help="Where to write the welcome.")
    ] = None,
    output: Formatted = Format.TEXT,
) -> None:
    """Take a partner in and write the welcome that it joins with."""
    from server.home import HubHome, unix_now

    asked = json.loads(request.read_text())
    answer = HubHome(directory).approve(asked, unix_now())
    target = welcome or request.with_name(f"{asked['name']}-welcome.json")
    target.write_text(json.dumps(answer, indent=1))
    _say(
        output,
        {"partner": asked["name"], "identity": asked["identity"], "welcome": str(target)},
        f"Took {asked['name']} in; its identity key is {asked['identity']}.\n"
        f"Compare the key with the partner by telephone, then send it {target}.",
        f"lianfang node join NODE_DIRECTORY {target}",
    )


@app.command()
def serve(
    directory: Directory,
    direct: Annotated[
        str | None,
        typer.Option(help="Serve the link alone, do this one proposed run over it, and end."),
    ] = None,
) -> None:
    """Serve the link and Flower until stopped."""
    from server.home import HubHome
    from server.serving import register_partners, run_directly
    from server.serving import serve as serve_hub

    home = HubHome(directory)
    with serve_hub(home, flower=direct is None) as hub:
        settings = home.settings()
        typer.echo(f"serving {settings.name}: link {settings.host}:{settings.link_port}", err=True)
        if direct is not None:
            state = run_directly(hub, direct)
            for trouble in state.trouble:
                typer.echo(
                    f"{trouble.party}: {trouble.phase}: {trouble.code}: {trouble.reason}", err=True
                )
            if state.state.value != "done":
                raise typer.Exit(EXIT_FAILED)
            return
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        if hub.superlink is not None:
            register_partners(home, hub.superlink.control)
        typer.echo("ready; stop with Ctrl-C. Next: lianfang-hub propose", err=True)
        known: set[str] = set()
        while not stop.wait(_LOOK_EVERY_S):
            joined = set(home.partners())
            if hub.superlink is not None and joined != known:
                register_partners(home, hub.superlink.control)
                known = joined


@app.command()
def propose(
    directory: Directory,
    run: Annotated[str, typer.Argument(help="A new name for the run.")],
    label_holder: Annotated[str, typer.Option(help="The partner that holds the label.")],
    epsilon: Annotated[float, typer.Option(help="Privacy cost of the whole run.")] = 1.0,
    delta: Annotated[float, typer.Option(help="Failure probability of the guarantee.")] = 1e-5,
    purpose: Annotated[
        str, typer.Option(help="IRI of the purpose.")
    ] = "https://w3id.org/dpv#FraudPreventionAndDetection",
    partners: Annotated[
        str, typer.Option(help="Comma-separated names; all that joined by default.")
    ] = "",
    steps: Annotated[int, typer.Option(help="Steps of the joint head.")] = 60,
    membership: Annotated[str, typer.Option(help="hidden or shared.")] = "hidden",
    on_refusal: Annotated[str, typer.Option(help="end or continue.")] = "end",
    held_out: Annotated[float, typer.Option(help="Share of people kept for validation.")] = 0.2,
    min_rows: Annotated[int, typer.Option(help="Fewest labelled rows to train on.")] = 500,
    deadline_s: Annotated[
        int, typer.Option(help="Seconds after which a silent phase has failed.")
    ] = 600,
    columns: Annotated[
        list[str] | None,
        typer.Option(help="PARTNER=PATTERN[,PATTERN]: its columns that take part; all otherwise."),
    ] = None,
    neural: Annotated[
        str, typer.Option(help="Comma-separated names of partners that train a neural expert.")
    ] = "",
    neural_share: Annotated[
        float, typer.Option(help="Share of epsilon for all neural experts together.")
    ] = 0.2,
    output: Formatted = Format.TEXT,
) -> None:
    """Propose a run; nothing starts and nobody is asked yet."""
    from server.home import HubHome
    from server.training.proposal import Choices, parse_columns, store_proposal

    home = HubHome(directory)
    names = [name for name in partners.split(",") if name] or sorted(home.partners())
    experts = [name for name in neural.split(",") if name]
    choices = Choices(
        run=run,
        purpose=purpose,
        epsilon=epsilon,
        delta=delta,
        label_holder=label_holder,
        columns=parse_columns(columns or []),
        membership=membership,
        held_out_fraction=held_out,
        min_rows=min_rows,
        on_refusal=on_refusal,
        deadline_s=deadline_s,
        steps=steps,
        neural={name: neural_share / len(experts) for name in experts},
    )
    plan = store_proposal(home.root, choices, {name: home.partner(name) for name in names})
    _say(
        output,
        {"run": run, "plan_hash": plan.digest.hex(), "plan": json.loads(plan.encode())},
        f"Proposed {run}: {', '.join(plan.names)}; epsilon {epsilon:g}, delta {delta:g}, {steps} steps.\n"
        f"Plan hash {plan.digest.hex()}.",
        f"lianfang-hub run {directory} {run}",
    )


@app.command(name="run")
def run_command(
    directory: Directory,
    run: Annotated[str, typer.Argument(help="A proposed run.")],
    output: Formatted = Format.TEXT,
) -> None:
    """Start a proposed run on the hub that is being served, and follow it."""
    from server.following import Follower
    from server.home import HubHome
    from server.serving import run_over_flower
    from server.training.plan import RunFolder

    home = HubHome(directory)
    with Follower(quiet=output is Format.JSON) as follower:
        state = run_over_flower(home, run, follower.show)
    record = RunFolder(home.root, run).path / "record.json"
    lines = [f"Run {run} is {state['state']}."]
    lines += [f"{t['party']}, {t['phase']}: {t['reason']} ({t['code']})" for t in state["trouble"]]
    _say(output, {"state": state, "record": str(record)}, "\n".join(lines), f"read {record}")
    if state["state"] != "done":
        raise typer.Exit(EXIT_FAILED)


@app.command()
def doctor(directory: Directory, output: Formatted = Format.TEXT) -> None:
    """Check the hub's directory and say how to mend what is wrong."""
    from server.checks import examine

    findings = examine(directory)
    good = all(finding["ok"] for finding in findings)
    lines = [
        f"{'PASS' if finding['ok'] else 'FAIL'}  {finding['check']}"
        + ("" if finding["ok"] else f": {finding['cure']}")
        for finding in findings
    ]
    _say(
        output,
        {"ok": good, "checks": findings},
        "\n".join(lines),
        f"lianfang-hub serve {directory}" if good else "mend what failed, then run this again",
    )
    if not good:
        raise typer.Exit(EXIT_CONFIG)


def _say(output: Format, value: dict[str, Any], text: str, following: str) -> None:
    if output is Format.JSON:
        typer.echo(json.dumps(value | {"next": following}, ensure_ascii=False))
    else:
        typer.echo(f"{text}\nNext: {following}")


if __name__ == "__main__":
    main()
