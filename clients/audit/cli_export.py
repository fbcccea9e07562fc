"""`lianfang audit export`: make a pack that a third party checks offline."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clients.audit.cli_options import (
    Actor,
    AgreementOption,
    LogPath,
    OutcomeOption,
    PolicyFile,
    Purpose,
    Recipient,
    RunOption,
    Since,
    Text,
    Until,
    VerbOption,
    Who,
    load_policy,
    make_filter,
)
from clients.output import CommandError
from compliance.commands.output import Format, Formatted, say

if TYPE_CHECKING:
    from clients.audit.home import AuditHome
    from protocols.tlog.entry import Entry


def export(
    path: LogPath,
    out: Annotated[Path, typer.Option(help="The zip file to write.")],
    policy: PolicyFile = None,
    node: Annotated[
        Path | None, typer.Option(help="A node's directory, for agreements and policies.")
    ] = None,
    minimum: Annotated[
        int, typer.Option(min=0, help="Entries below may be missing: retention is over.")
    ] = 0,
    since: Since = "",
    until: Until = "",
    verb: VerbOption = None,
    outcome: OutcomeOption = None,
    organisation: Who = "",
    actor: Actor = "",
    recipient: Recipient = "",
    purpose: Purpose = "",
    agreement: AgreementOption = "",
    run: RunOption = "",
    text: Text = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Verify a log and pack it: the whole, or the entries that fit every option, with proofs."""
    from compliance.configuration import ConfigError
    from compliance.exports.check import check_export
    from compliance.exports.pack import write_pack
    from compliance.exports.source import open_source
    from compliance.progress import progress_bar

    if out.exists():
        raise ConfigError(f"{out.name}: exists already; choose another name")
    wanted = make_filter(
        since=since, until=until, verb=verb, outcome=outcome, organisation=organisation,
        actor=actor, recipient=recipient, purpose=purpose, agreement=agreement, run=run, text=text,
    )  # fmt: skip
    home = None if node is None else _home(node)
    with (
        open_source(path) as source,
        progress_bar("verify", shown=output is Format.TEXT) as progress,
    ):
        if not source.has_bundles and source.selected:
            raise ConfigError(f"{path.name}: is a selection already; give the whole log")
        known, _ = load_policy(policy, source.policy(), path)
        checked = check_export(source, known, minimum=minimum, progress=progress)
        if not checked.is_whole:
            raise CommandError(f"{path.name} does not hold, nothing was packed: {checked.fault}")
        found = wanted.select(source.entries())
        documents, absent = ({}, []) if home is None else _documents(home, found)
        packed = write_pack(
            source, out, policy=known, wanted=wanted, documents=documents,
            publisher=home.name if home else "",
        )  # fmt: skip
    what = "the whole log" if packed.is_whole else "a selection"
    lines = [
        f"Packed {what}: {packed.entries} of {packed.size} entries, {packed.files} files.",
        f"{packed.digest}  {out.name}",
    ]
    if home is None:
        lines.append("Without agreements and policies: give --node DIRECTORY for them.")
    lines += [f"Not kept at this node, so not in the pack: {name}" for name in absent]
    value = {
        "file": str(out),
        "sha256": packed.digest,
        "whole": packed.is_whole,
        "entries": packed.entries,
        "size": packed.size,
        "files": packed.files,
        "documents": sorted(documents),
        "absent": absent,
    }
    say(output, value, "\n".join(lines), f"lianfang audit verify {out} --policy FILE")


def _home(directory: Path) -> AuditHome:
    from clients.audit.home import AuditHome
    from clients.node.home import Home

    node = Home(directory)
    node.config()  # a directory that is no node is told before anything is made in it
    return AuditHome(node)


def _documents(home: AuditHome, entries: Iterable[Entry]) -> tuple[dict[str, bytes], list[str]]:
    """Return what the entries rest on, by path in the pack, and what is not kept here."""
    from compliance.errors import NotPermittedError

    agreements: set[bytes] = set()
    policies: set[bytes] = set()
    for entry in entries:
        policies.add(entry.policy_set)
        if entry.agreement is not None:
            agreements.add(entry.agreement.digest)
    found: dict[str, bytes] = {}
    absent = []
    for digest in sorted(agreements):
        try:
            found |= _agreement(home, digest)
        except NotPermittedError:
            absent.append(f"agreements/{digest.hex()}")
    for digest in sorted(policies):
        try:
            found[f"policies/{digest.hex()}.json"] = home.policies().load(digest).encode()
        except NotPermittedError:
            absent.append(f"policies/{digest.hex()}")
    return found, absent


def _agreement(home: AuditHome, digest: bytes) -> dict[str, bytes]:
    store = home.agreements()
    signed = store.load(digest)
    name, profile = digest.hex(), signed.agreement.profile.digest.hex()
    found = {f"agreements/{name}.json": signed.format()}
    for item in store.revocations(digest):
        found[f"agreements/{name}.{item.party}.revocation"] = item.encode()
    kept = store.directory / "profiles" / f"{profile}.json"
    if kept.exists():
        found[f"profiles/{profile}.json"] = kept.read_bytes()
    return found
