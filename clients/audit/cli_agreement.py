"""`lianfang audit agreement`: draft, sync, list, sign, show, diff, revoke.

Agreements travel over the hub: `draft --publish` hands one in, `sync` fetches it everywhere,
`sign` and `revoke` send each party's word at once. Where the hub is away, `sync` sends it
later. A file may go round as well: `sign` keeps all the signatures that it finds in one.
"""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clients.acting import acting
from compliance.commands.acting import AsOption, SecondOption
from compliance.commands.output import EXIT_FAILED, EXIT_REFUSED, Format, Formatted, say

if TYPE_CHECKING:
    from clients.audit.home import AuditHome
    from clients.audit.syncing import SyncResult
    from compliance.agreement.document import Agreement

app = typer.Typer(help="What the parties allow each other.", no_args_is_help=True)

Directory = Annotated[Path, typer.Argument(help="The node's directory.")]
Which = Annotated[str, typer.Argument(help="A file, or the first digits of a hash; else newest.")]
DAY_S = 86_400


class Language(StrEnum):
    """In which language an agreement is shown."""

    EN = "en"
    ZH = "zh"


Shown = Annotated[Language, typer.Option("--lang", help="zh or en.")]
Offline = Annotated[bool, typer.Option("--offline", help="Leave it to a later `sync`.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Reason = Annotated[str, typer.Option(help="Why, for all parties to read; name no person.")]


@app.command()
def draft(
    directory: Directory,
    file: Annotated[Path, typer.Argument(help="Where to write the draft.")],
    hub: Annotated[str, typer.Option(help="The hub's name, as in its certificates.")],
    name: Annotated[str, typer.Option(help="Name of the series.")] = "joint-defence",
    profile: Annotated[str, typer.Option(help="Jurisdiction: tw or eu.")] = "tw",
    begins: Annotated[str, typer.Option(help="First day, YYYY-MM-DD; today if empty.")] = "",
    days: Annotated[int, typer.Option(min=1, help="For how long.")] = 365,
    role: Annotated[list[str] | None, typer.Option(help="PARTY=insurer|telecom|police.")] = None,
    contract: Annotated[
        list[str] | None, typer.Option(help="PARTY=FILE: another party's feature contract.")
    ] = None,
    supersedes: Annotated[
        str, typer.Option(help="The version before: a file or the first digits of its hash.")
    ] = "",
    *,
    publish: Annotated[
        bool, typer.Option("--publish", help="Hand it in at the hub, for all parties to sign.")
    ] = False,
    output: Formatted = Format.TEXT,
) -> None:
    """Write a first draft between this node, its pinned peers and the hub."""
    from clients.audit.drafts import draft_at
    from clients.audit.syncing import publish_agreement
    from compliance.agreement.profile import shipped_bytes, shipped_profile
    from compliance.agreement.signing import SignedAgreement
    from compliance.configuration import ConfigError
    from compliance.files import write_atomically

    if file.exists():
        raise ConfigError(f"{file.name}: exists already; choose another name")
    home = _home(directory)
    start = _day(begins)
    found = draft_at(
        home,
        shipped_profile(profile),
        hub=hub,
        name=name,
        roles=_pairs(role, "--role"),
        contracts=_pairs(contract, "--contract"),
        period=(start, start + days * DAY_S),
        former=home.find(supersedes).agreement if supersedes else None,
    )
    write_atomically(file, SignedAgreement(found, {}).format())
    if publish:
        publish_agreement(home.node, found, shipped_bytes(profile))
    say(
        output,
        {"file": str(file), "digest": found.digest.hex(), "version": found.version,
         "parties": list(found.names), "published": publish},
        f"Drafted version {found.version} between {', '.join(found.names)} in {file}.\n"
        "The legal bases are proposals; have counsel read them, and correct the file.",
        f"lianfang audit agreement show {directory} {file}",
    )  # fmt: skip


@app.command()
def sync(directory: Directory, output: Formatted = Format.TEXT) -> None:
    """Exchange documents, signatures and revocations with the hub."""
    from clients.audit.syncing import sync_agreements

    result = sync_agreements(_home(directory).node)
    lines = [f"{digest[:12]}: fetched" for digest in result.fetched]
    lines += [f"{digest[:12]}: sent" for digest in result.sent]
    lines += [f"{digest[:12]}: {reason}" for digest, reason in result.refused]
    lines += [] if result.reached else [f"The hub does not answer: {result.detail}"]
    say(
        output,
        _exchanged(result),
        "\n".join(lines) or "Nothing has changed.",
        f"lianfang audit agreement list {directory}",
    )
    if not result.reached or result.refused:
        raise typer.Exit(EXIT_REFUSED if result.reached else EXIT_FAILED)


@app.command(name="list")
def list_all(
    directory: Directory, language: Shown = Language.EN, output: Formatted = Format.TEXT
) -> None:
    """List all versions that are kept here, who has signed them, and how they stand."""
    from compliance.agreement.telling import list_kept

    found, text = list_kept(_home(directory).agreements(), int(time.time()), language)
    say(output, {"agreements": found}, text, f"lianfang audit agreement show {directory}")


@app.command()
def sign(
    directory: Directory,
    which: Annotated[str, typer.Argument(help="A file, or the first digits of a hash.")],
    profile: Annotated[
        str, typer.Option(help="First digits of a profile's hash that this program lacks.")
    ] = "",
    *,
    yes: Yes = False,
    offline: Offline = False,
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Sign an agreement as this node's organisation, keep it, and send the signature."""
    from clients.audit.drafts import check_own_contract
    from compliance.agreement.conformity import check_against_profile
    from compliance.agreement.finding import check_edition, profile_at_hand
    from compliance.agreement.profile import Profile
    from compliance.agreement.signing import sign_agreement, verify_agreement
    from compliance.files import write_atomically

    home = _home(directory)
    given, store, now = home.find(which), home.agreements(), int(time.time())
    agreement = verify_agreement(given, store.identities, draft=True)
    check_edition(agreement, profile)
    law = profile_at_hand(store, agreement)
    check_against_profile(agreement, Profile.parse(law))
    check_own_contract(home, agreement)
    digest = agreement.digest
    if digest in store.versions():
        given = given.with_signatures(store.load(digest).signatures)
    if home.name not in given.signatures:
        store.check_succession(agreement, now)
        if not yes:
            question = f"Sign version {agreement.version} of {agreement.name} for {home.name}?"
            typer.confirm(question, abort=True, err=True)
        _act(home, "sign_agreement", agreement, by=by, second=second)
        own = sign_agreement(home.identity(), agreement, home.name)
        given = given.with_signatures({home.name: own})
    store.keep(given, profile=law, now=now)
    signed = store.load(digest)
    if Path(which).is_file():
        write_atomically(Path(which), signed.format())
    sent, told = _send(home, digest, offline=offline)
    missing = list(store.load(digest).missing)
    say(
        output,
        {"digest": digest.hex(), "state": store.state(digest, now).value,
         "signed": sorted(store.load(digest).signatures), "missing": missing, "sent": sent},
        f"Signed {digest.hex()[:12]} for {home.name}. "
        + (f"Still missing: {', '.join(missing)}. Until then it is a draft." if missing
           else "All parties have signed.") + told,
        f"lianfang audit agreement {'show' if sent else 'sync'} {directory}",
    )  # fmt: skip


@app.command()
def show(
    directory: Directory,
    which: Which = "",
    language: Shown = Language.EN,
    output: Formatted = Format.TEXT,
) -> None:
    """Show an agreement in sentences: who may do what, on which basis, up to which limits."""
    from compliance.agreement.finding import profile_to_read
    from compliance.agreement.telling import shown, standing_of

    home = _home(directory)
    signed, store = home.find(which), home.agreements()
    profile = profile_to_read(store, signed.agreement)
    standing = standing_of(store, signed, int(time.time()))
    value, text = shown(signed.agreement, profile, language, standing)
    say(output, value, text, f"lianfang audit agreement sign {directory} {value['digest'][:12]}")


@app.command()
def diff(
    directory: Directory,
    before: Annotated[str, typer.Argument(help="A file, or the first digits of a hash.")],
    after: Annotated[str, typer.Argument(help="The same.")],
    language: Shown = Language.EN,
    output: Formatted = Format.TEXT,
) -> None:
    """Show what changes from one version to another, and for whom."""
    from compliance.agreement.finding import profile_to_read
    from compliance.agreement.wording import compare

    home = _home(directory)
    old, new = home.find(before).agreement, home.find(after).agreement
    store = home.agreements()
    profiles = profile_to_read(store, old), profile_to_read(store, new)
    changes = compare(old, new, language, profiles)
    lines = [
        f"{', '.join(change.whom)} | {change.label}: "
        f"{change.before or '-'} -> {change.after or '-'}"
        f"{f' ({change.direction})' if change.direction else ''}"
        for change in changes
    ]
    value = {
        "before": old.digest.hex(),
        "after": new.digest.hex(),
        "changes": [
            {"kind": change.kind, "whom": list(change.whom), "label": change.label,
             "before": change.before, "after": change.after, "direction": change.direction}
            for change in changes
        ],
    }  # fmt: skip
    text = "\n".join(lines) or "Nothing changes."
    say(output, value, text, f"lianfang audit agreement show {directory} {new.digest.hex()[:12]}")


@app.command()
def revoke(
    directory: Directory,
    which: Which = "",
    reason: Reason = "",
    apply: Annotated[
        Path | None, typer.Option(help="Take in the revocation of another party instead.")
    ] = None,
    *,
    yes: Yes = False,
    offline: Offline = False,
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """End an agreement at once, for everybody; the hub passes it on, or the file written here."""
    from compliance.agreement.revocation import Revocation
    from compliance.agreement.revocation import revoke as end
    from compliance.configuration import ConfigError
    from compliance.files import write_atomically

    home = _home(directory)
    store, now = home.agreements(), int(time.time())
    if apply is not None:
        revocation = Revocation.decode(_read(apply))
    else:
        agreement = home.find(which).agreement
        if not reason.strip():
            raise ConfigError("--reason: say why, for all parties to read")
        if not yes:
            question = f"End version {agreement.version} of {agreement.name} for everybody?"
            typer.confirm(question, abort=True, err=True)
        _act(home, "revoke_agreement", agreement, by=by, second=second, reason=reason)
        revocation = end(home.identity(), agreement, home.name, reason=reason, now=now)
    store.keep_revocation(revocation, now=now)
    digest = revocation.agreement
    file = directory / f"revocation-{digest.hex()[:12]}-{revocation.party}.json"
    write_atomically(file, revocation.encode())
    sent, told = _send(home, digest, offline=offline)
    say(
        output,
        {"digest": digest.hex(), "party": revocation.party,
         "state": store.state(digest, now).value, "file": str(file), "sent": sent},
        f"{revocation.party} has ended {digest.hex()[:12]}.{told}"
        + ("" if sent else f" Or send {file.name} to every party."),
        f"lianfang audit agreement {'list' if sent else 'sync'} {directory}",
    )  # fmt: skip


def _home(directory: Path) -> AuditHome:
    from clients.audit.home import AuditHome
    from clients.node.home import Home

    node = Home(directory)
    node.config()  # a directory that is no node is told before anything is made in it
    return AuditHome(node)


def _act(
    home: AuditHome, act: str, agreement: Agreement, *, by: str, second: str, reason: str = ""
) -> None:
    """Enter an act about an agreement as done, by whom it may be done; it is done after this.

    Raises:
        NotPermittedError: the policies say no, or a second person has yet to agree.
    """
    from clients.office import node_office
    from compliance.office.about import About
    from protocols.tlog.entry import Verb

    digest = agreement.digest
    others = tuple(name for name in agreement.names if name != home.name)
    about = About(
        Verb.ALTER, "agreement", recipients=others, count=1, document=digest,
        subject=f"agreement {digest.hex()}", reason=reason,
    )  # fmt: skip
    what = f"{act.replace('_', ' ')} {digest.hex()[:12]}, version {agreement.version}"
    with node_office(home.node) as office:
        who = acting(home.node.root, office, name=by, second=second)
        who.perform(office, act, about, what=what)


def _send(home: AuditHome, digest: bytes, *, offline: bool) -> tuple[bool, str]:
    """Exchange with the hub now; returns whether a version is there, and what to say."""
    from clients.audit.syncing import sync_agreements

    if offline:
        return False, f"\n`lianfang audit agreement sync {home.node.root}` will send it."
    result = sync_agreements(home.node)
    if why := result.why_not(digest):
        return False, (
            f"\nNot at the hub yet ({why}); "
            f"`lianfang audit agreement sync {home.node.root}` will send it."
        )
    return True, " The hub has it."


def _exchanged(result: SyncResult) -> dict[str, Any]:
    return {
        "reached": result.reached,
        "fetched": list(result.fetched),
        "sent": list(result.sent),
        "refused": [{"digest": digest, "reason": reason} for digest, reason in result.refused],
        "detail": result.detail,
    }


def _pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    found = {}
    for text in texts or []:
        name, _, value = text.partition("=")
        if not name or not value:
            raise typer.BadParameter(f"{option}: {text[:64]} is not PARTY=VALUE")
        found[name] = value
    return found


def _day(text: str) -> int:
    try:
        chosen = date.fromisoformat(text) if text else datetime.now(UTC).date()
    except ValueError as error:
        raise typer.BadParameter("--begins: must be a day, such as 2026-12-01") from error
    return int(datetime(chosen.year, chosen.month, chosen.day, tzinfo=UTC).timestamp())


def _read(path: Path) -> bytes:
    from compliance.configuration import ConfigError

    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path.name}: cannot be read; correct the path") from error
