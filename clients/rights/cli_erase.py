"""`lianfang audit rights access`, `erase`, `certificate`: telling a person all, and erasing it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clients.rights.cli_options import Directory, Number, Reason
from compliance.commands.acting import AsOption, SecondOption
from compliance.commands.output import Format, Formatted, say


def access(
    directory: Directory,
    number: Number,
    out: Annotated[Path, typer.Option(help="Where the account goes; for the person alone.")],
    reason: Reason,
    *,
    withhold: Annotated[
        list[str] | None, typer.Option(help="SECTION=CODE: a part that is not given, and why.")
    ] = None,
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Write all that is held about the person of a request, in Chinese and English."""
    from clients.rights.counter import opened, outside
    from compliance.files import write_atomically
    from compliance.rights.access import account

    grounds = dict(_pair(item) for item in withhold or [])
    outside(out, directory)
    with opened(directory, by=by, second=second, reason=reason) as counter:
        found = account(counter.rights, counter.told(), number, counter.who, withhold=grounds)
    write_atomically(out, found.text().encode())
    counts = {section.name: len(section.findings) for section in found.sections}
    withheld = sorted(grounds)
    say(
        output,
        {"file": str(out), "found": counts, "withheld": withheld},
        "\n".join([f"Wrote {out}:", *(f"  {count:>5}  {name}" for name, count in counts.items()),
                   *(f"  withheld: {name} ({grounds[name]})" for name in withheld)]),
        f"lianfang audit rights answer {directory} {number} {'partly' if withheld else 'granted'}",
    )  # fmt: skip


def erase(
    directory: Directory,
    number: Number,
    reason: Reason,
    *,
    keep_log: Annotated[
        str, typer.Option(help="Ground on which who and why of log entries are kept.")
    ] = "",
    told: Annotated[
        list[str] | None, typer.Option(help="An organisation that was told to erase as well.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Erase the person of a request everywhere here; repeat it until it says that it is done."""
    from clients.rights.counter import opened
    from compliance.rights.certificate import Certificate
    from protocols.jcs import decode_jcs

    if not yes:
        typer.confirm("Erase beyond recovery?", abort=True, err=True)
    with opened(directory, by=by, second=second, reason=reason) as counter:
        case, data = counter.erasure().run(
            number, counter.who, keep_log=keep_log, told=tuple(told or ())
        )
        path = counter.certificates.path(case.certificate)
    found = Certificate.parse(decode_jcs(data, "certificate")["body"])
    untold = sorted(set(found.recipients) - set(found.told))
    lines = [f"Erased. Certificate {found.serial}: {path}"]
    lines += [f"  {item.count:>5}  {item.store}: {item.what.en}" for item in found.erased]
    lines += [f"  kept: log/private-parts ({found.kept})"] if found.kept else []
    lines += [f"  not told yet: {', '.join(untold)}"] if untold else []
    say(
        output,
        {"certificate": found.serial, "file": str(path), "not_told": untold,
         "erased": {item.store: item.count for item in found.erased}},
        "\n".join(lines),
        f"lianfang audit rights close {directory} {number}",
    )  # fmt: skip


def certificate(
    directory: Directory,
    file: Annotated[Path, typer.Argument(help="A deletion certificate.")],
    *,
    output: Formatted = Format.TEXT,
) -> None:
    """Verify a deletion certificate under the keys that are pinned here."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from clients.audit.home import AuditHome
    from clients.node.home import Home
    from compliance.configuration import ConfigError
    from compliance.rights.certificate import verify_certificate

    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file.name}: cannot be read; correct the path") from error
    identities = {
        name: Ed25519PublicKey.from_public_bytes(key)
        for name, key in AuditHome(Home(directory)).identities().items()
    }
    found = verify_certificate(data, identities)
    say(
        output,
        found.fields(),
        f"{found.serial} of {found.owner} holds: request {found.request}, entry {found.index} of "
        f"{found.origin}, {sum(item.count for item in found.erased)} things in "
        f"{len(found.erased)} stores.",
        "lianfang audit verify LOG --policy FILE",
    )


def _pair(text: str) -> tuple[str, str]:
    name, equals, code = text.partition("=")
    if not equals:
        raise typer.BadParameter("--withhold: must be SECTION=CODE")
    return name, code
