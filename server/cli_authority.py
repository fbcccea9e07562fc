"""`lianfang-hub authority`: who else may sign certificates here, proxies, a public certificate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compliance.commands.acting import AsOption, SecondOption
from compliance.commands.output import Format, Formatted, say

app = typer.Typer(
    help="Authorities of partners, certificates of proxies, a certificate for public names.",
    no_args_is_help=True,
)
Directory = Annotated[Path, typer.Argument(help="The hub's directory.")]
Partner = Annotated[str, typer.Argument(help="The partner's name: a-z, 0-9 and -.")]


@app.command()
def add(
    directory: Directory,
    partner: Partner,
    file: Annotated[
        Path,
        typer.Argument(
            help="Certificates (PEM): what signs the node's, and all above to the root."
        ),
    ],
    subject: Annotated[
        str,
        typer.Option(help="Subject of the node's certificate, where no SPIFFE URI names it."),
    ] = "",
    reason: Annotated[str, typer.Option(help="Why; sealed in the log.")] = "",
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Trust a company's own authority for the certificates of one partner, and of nobody else."""
    from compliance.configuration import ConfigError
    from server.acting import acting
    from server.enrolment.trusting import trust
    from server.home import HubHome, unix_now
    from server.log.opening import open_log

    home = HubHome(directory)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file.name}: cannot be read; correct the path") from error
    with open_log(home) as log:
        who = acting(directory, log.office, name=by, second=second)
        found = trust(
            home, log.office, partner, data, who, subject=subject, now=unix_now(), reason=reason
        )
    named = found.subject or f"its SPIFFE URI, spiffe://{home.settings().name}/node/{partner}"
    say(
        output,
        {"partner": partner, "subject": found.subject, "certificates": found.described()},
        f"Trusted for {partner} alone: {found.described()[0]['subject']}.\n"
        f"A certificate of it counts if it names {named}. A hub that is being served knows it.",
        f"lianfang-hub approve {directory} {partner}, once its node has asked with --certificate",
    )


@app.command()
def remove(
    directory: Directory,
    partner: Partner,
    reason: Annotated[str, typer.Option(help="Why; needed, and sealed in the log.")] = "",
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Trust a partner's own authority no more; what it signed opens no further connection."""
    from server.acting import acting
    from server.enrolment.trusting import distrust
    from server.home import HubHome
    from server.log.opening import open_log

    home = HubHome(directory)
    with open_log(home) as log:
        who = acting(directory, log.office, name=by, second=second)
        distrust(home, log.office, partner, who, reason=reason)
    say(
        output,
        {"partner": partner, "removed": True},
        f"The authority of {partner} is trusted no more. The partner itself is not revoked: "
        "streams that are open stay open until they end.",
        f"lianfang-hub revoke {directory} {partner}, to shut it out at once and for good",
    )


@app.command(name="list")
def list_(
    directory: Directory,
    out: Annotated[
        Path | None,
        typer.Option(help="Write all that may sign certificates here (PEM), for a proxy."),
    ] = None,
    output: Formatted = Format.TEXT,
) -> None:
    """List the authorities that are trusted beside the hub's own."""
    from compliance.files import write_atomically
    from server.home import HubHome
    from server.identity.admission import Admission
    from server.identity.trusted import TrustedAuthorities

    home = HubHome(directory)
    hub = home.settings().name
    found = TrustedAuthorities(home.root, hub).all()
    if out is not None:
        write_atomically(out, Admission(home.root, hub).roots().encode())
    lines = [
        f"{trust.partner}: {item['subject']}, until {item['until']}"
        for trust in found
        for item in trust.described()
    ] or ["The hub's own authority alone is trusted."]
    say(
        output,
        {
            "authorities": [
                {"partner": trust.partner, "subject": trust.subject, "of": trust.described()}
                for trust in found
            ]
        },
        "\n".join(lines),
        f"lianfang-hub authority add {directory} PARTNER FILE",
    )


@app.command()
def proxy(
    directory: Directory,
    target: Annotated[
        Path, typer.Argument(help="Where to write proxy.pem, proxy.key and ca.crt.")
    ] = Path("proxy"),
    *,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Revoke all that were given before, and give none.")
    ] = False,
    output: Formatted = Format.TEXT,
) -> None:
    """Give a proxy in front of the API the certificate by which its word is taken."""
    from server.home import HubHome, unix_now
    from server.identity.proxies import give_certificate, revoke_certificates

    home = HubHome(directory)
    home.settings()
    if revoke:
        count = revoke_certificates(home.root, unix_now())
        say(
            output,
            {"revoked": count},
            f"Revoked {count} certificates of proxies; their word counts no more.",
            f"lianfang-hub authority proxy {directory} TARGET",
        )
        return
    give_certificate(home.root, target, unix_now())
    say(
        output,
        {"directory": str(target)},
        f"Wrote proxy.pem, proxy.key and ca.crt to {target}. Whoever holds the key can speak to "
        "the API in any partner's name: keep it at the proxy alone.",
        "name the proxy's address as `proxies` in hub.json; see docs/operation/nginx.conf",
    )


@app.command()
def public(
    directory: Directory,
    certificate: Annotated[
        Path | None, typer.Option(help="Certificate and chain for public names (PEM).")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key (PEM).")] = None,
    *,
    remove: Annotated[bool, typer.Option("--remove", help="Show it no more.")] = False,
    output: Formatted = Format.TEXT,
) -> None:
    """Show a certificate brought along to whoever dials the API by its public names."""
    from server.home import HubHome, unix_now
    from server.identity.public import keep_public, remove_public

    home = HubHome(directory)
    if remove:
        remove_public(home.authority)
        names, said = [], "The API shows the hub's own certificate alone."
    else:
        names = keep_public(home.authority, home.settings().host, certificate, key, unix_now())
        said = f"Whoever dials {', '.join(names)} is shown it; nodes go on with the hub's own."
    say(
        output,
        {"names": names},
        f"{said} A hub that is being served does so from the next connection on.",
        f"lianfang-hub doctor {directory}",
    )
