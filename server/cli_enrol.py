"""`lianfang-hub` invite, approve, reject, revoke, renew: who takes part, by which certificates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compliance.commands.acting import AsOption, SecondOption
from compliance.commands.output import Format, Formatted, say

if TYPE_CHECKING:
    from server.enrolment.deciding import Request
    from server.home import HubHome

Directory = Annotated[Path, typer.Argument(help="The hub's directory.")]
Name = Annotated[str, typer.Argument(help="The partner's name: a-z, 0-9 and -.")]


def invite(
    directory: Directory,
    name: Name,
    hours: Annotated[int, typer.Option(help="How long the code counts.")] = 72,
    by: AsOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Make a code with which one partner may ask to join, once."""
    from server.acting import acting
    from server.enrolment.deciding import invite as make
    from server.home import HubHome, unix_now
    from server.log.opening import open_log

    home = HubHome(directory)
    with open_log(home) as log:
        who = acting(directory, log.office, name=by)
        code, made = make(home, log.office, name, who, now=unix_now(), hours=hours)
    text = code.format()
    say(
        output,
        {"partner": name, "code": text, "number": made.number, "ends_at": made.ends_at},
        f"{text}\n\nGive this code to {name} alone, by telephone or a sealed letter. It counts "
        f"once, for {hours} hours.\nThere: lianfang node join NODE_DIRECTORY -",
        f"lianfang-hub approve {directory} {name} --as NAME --second NAME, once it has asked",
    )


def approve(
    directory: Directory,
    request: Annotated[
        str, typer.Argument(help="A partner that asked by a code, or its join request as a file.")
    ],
    welcome: Annotated[
        Path | None, typer.Option("--out", help="Where to write the welcome of a file.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; sealed in the log.")] = "",
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Take a partner in: show its keys and its contract, then answer its request."""
    from compliance.files import write_atomically
    from server.acting import acting
    from server.enrolment.invitations import Invitations
    from server.home import HubHome, unix_now
    from server.log.opening import open_log

    home = HubHome(directory)
    asked = _request(home, request)
    typer.echo(asked.text(), err=True)

    def enter(partner: dict[str, Any]) -> None:
        with open_log(home) as log:
            who = acting(directory, log.office, name=by, second=second)
            log.journal.partner_approved(partner, who, reason=reason)

    answer = home.approve(asked.fields, unix_now(), enter=enter)
    identity = asked.fields["identity"]
    said = f"Took {asked.name} in; its identity key is {identity}.\n"
    told: dict[str, Any] = {"partner": asked.name, "identity": identity, "keys": asked.keys()}
    if asked.number:
        Invitations(home.root).answer(asked.number, answer)
        said += "Compare the key with the partner by telephone; its node fetches the welcome."
        following = "lianfang-hub agreement --help"
    else:
        target = welcome or Path(request).with_name(f"{asked.name}-welcome.json")
        write_atomically(target, json.dumps(answer, indent=1).encode())
        told["welcome"] = str(target)
        said += f"Compare the key with the partner by telephone, then send it {target}."
        following = f"lianfang node join NODE_DIRECTORY {target}"
    say(output, told, said, following)


def reject(
    directory: Directory,
    request: Annotated[str, typer.Argument(help="The partner whose request waits.")],
    reason: Annotated[
        str, typer.Option(help="Why, in one sentence; its node shows it, and the log keeps it.")
    ],
    by: AsOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Turn a waiting join request down; its node is told so, and nobody is taken in."""
    from server.acting import acting
    from server.enrolment.deciding import reject as turn_down
    from server.home import HubHome, unix_now
    from server.log.opening import open_log

    home = HubHome(directory)
    home.settings()
    with open_log(home) as log:
        who = acting(directory, log.office, name=by)
        asked = turn_down(home, log.office, request, who, now=unix_now(), reason=reason)
    say(
        output,
        {"partner": asked.name, "number": asked.number, "rejected": True},
        f"Rejected the request of {asked.name}; its node tells it the reason. Its code is used up.",
        f"lianfang-hub invite {directory} {asked.name} --as NAME, if it is to ask again",
    )


def revoke(
    directory: Directory,
    name: Name,
    reason: Annotated[str, typer.Option(help="Why; sealed in the log.")] = "",
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Shut a partner out for good, at once and everywhere; its name stays taken."""
    from server.acting import acting
    from server.enrolment.deciding import revoke as shut_out
    from server.home import HubHome, unix_now
    from server.log.changing import witness_of
    from server.log.opening import open_log

    home = HubHome(directory)
    with open_log(home) as log:
        who = acting(directory, log.office, name=by, second=second)
        kept = shut_out(home, log.office, name, who, now=unix_now(), reason=reason)
    listed = witness_of(home, name)
    told = ""
    following = f"lianfang-hub agreement draft {directory} --help, for an agreement without it"
    if listed is not None:
        left = len(listed.listed) - 1
        told = (
            f"\n{name} is a witness of the log and cosigns no more: {listed.quorum} of "
            f"{len(listed.listed)} must cosign, {left} can."
        )
        if left < listed.quorum:
            told += " Nothing is published, and no epoch begins, until it is removed."
        following = f"lianfang-hub log witness remove {directory} {name} --reason WHY; {following}"
    say(
        output,
        {
            "partner": name,
            "identity": kept["identity"],
            "revoked": True,
            "witness": listed is not None,
        },
        f"Revoked {name}: a hub that is being served closes its streams within a second and "
        "answers it no more.\nWhat it signed before still verifies; its name and keys are never "
        "given again. If it holds a share of the key or contributes reports, end the epoch too."
        + told,
        following,
    )


def renew(directory: Directory, output: Formatted = Format.TEXT) -> None:
    """Make new certificates for the hub itself; partners notice nothing."""
    from server.home import HubHome, unix_now

    home = HubHome(directory)
    home.renew_server(unix_now())
    say(
        output,
        {"renewed": ["server", "hub", "token"], "restart": False},
        "Made new certificates for the server and the hub's own programs, and a new key for access "
        "tokens.\nA hub that is being served shows them from the next connection on; Flower's part "
        "starts anew by itself once no run is going.",
        f"lianfang-hub doctor {directory}",
    )


def _request(home: HubHome, text: str) -> Request:
    """Return the request in a file, or the one that waits under a name."""
    import re

    from compliance.configuration import read_object
    from server.enrolment.deciding import Request, waiting_request
    from server.home import check_request

    path = Path(text)
    if re.fullmatch(r"[a-z][a-z0-9-]*", text) and not path.is_file():
        home.settings()
        return waiting_request(home, text)
    fields = read_object(path)
    check_request(fields)
    return Request(fields)
