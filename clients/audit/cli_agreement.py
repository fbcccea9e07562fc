"""`lianfang audit agreement`: draft, sign, show, diff, revoke.

A file goes round: one party drafts it, each reads and signs it, and the last one sends it
to all. `sign` keeps what it was given, so that running it on a file that others have signed
adds their signatures here.
"""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clients.output import Format, Formatted, say

if TYPE_CHECKING:
    from clients.audit.home import AuditHome
    from compliance.agreement.document import Agreement
    from compliance.agreement.profile import Profile
    from compliance.agreement.signing import SignedAgreement

app = typer.Typer(help="What the parties allow each other.", no_args_is_help=True)

Directory = Annotated[Path, typer.Argument(help="The node's directory.")]
Which = Annotated[str, typer.Argument(help="A file, or the first digits of a hash; else newest.")]
DAY_S = 86_400


class Language(StrEnum):
    """In which language an agreement is shown."""

    EN = "en"
    ZH = "zh"


Shown = Annotated[Language, typer.Option("--lang", help="zh or en.")]


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
    output: Formatted = Format.TEXT,
) -> None:
    """Write a first draft between this node, its pinned peers and the hub."""
    from clients.audit.drafts import draft_at
    from compliance.agreement.profile import shipped_profile
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
    say(
        output,
        {"file": str(file), "digest": found.digest.hex(), "version": found.version,
         "parties": list(found.names)},
        f"Drafted version {found.version} between {', '.join(found.names)} in {file}.\n"
        "The legal bases are proposals; have counsel read them, and correct the file.",
        f"lianfang audit agreement show {directory} {file}",
    )  # fmt: skip


@app.command()
def sign(
    directory: Directory,
    file: Annotated[Path, typer.Argument(help="The agreement, with or without signatures.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    output: Formatted = Format.TEXT,
) -> None:
    """Sign an agreement as this node's organisation, and keep it with all its signatures."""
    from clients.audit.drafts import check_own_contract
    from clients.audit.home import read_agreement
    from compliance.agreement.conformity import check_against_profile
    from compliance.agreement.profile import Profile
    from compliance.agreement.signing import sign_agreement, verify_agreement
    from compliance.files import write_atomically

    home = _home(directory)
    given = read_agreement(file)
    store = home.agreements()
    agreement = verify_agreement(given, store.identities, draft=True)
    profile = _profile_bytes(home, agreement)
    check_against_profile(agreement, Profile.parse(profile))
    check_own_contract(home, agreement)
    if home.name not in given.signatures and not yes:
        typer.confirm(
            f"Sign version {agreement.version} of {agreement.name} for {home.name}?",
            abort=True,
            err=True,
        )
    own = sign_agreement(home.identity(), agreement, home.name)
    digest = store.keep(given.with_signatures({home.name: own}), profile=profile)
    signed = store.load(digest)
    write_atomically(file, signed.format())
    missing = list(signed.missing)
    say(
        output,
        {"digest": digest.hex(), "state": store.state(digest, int(time.time())).value,
         "signed": sorted(signed.signatures), "missing": missing},
        f"Signed {digest.hex()[:12]} for {home.name}. "
        + (f"Still missing: {', '.join(missing)}. Until then it is a draft." if missing
           else "All parties have signed."),
        f"lianfang audit agreement show {directory} {digest.hex()[:12]}",
    )  # fmt: skip


@app.command()
def show(
    directory: Directory,
    which: Which = "",
    language: Shown = Language.EN,
    output: Formatted = Format.TEXT,
) -> None:
    """Show an agreement in sentences: who may do what, on which basis, up to which limits."""
    from compliance.agreement.wording import SECTIONS, statements

    home = _home(directory)
    signed = home.find(which)
    agreement = signed.agreement
    said = statements(agreement, language, _profile(home, agreement))
    standing = _standing(home, signed)
    lines: list[str] = []
    for section, title in SECTIONS.items():
        lines.append(f"\n{title.text(language)}")
        lines += [f"  {item.label}: {item.value}" for item in said if item.section is section]
    lines.append(f"\n{agreement.digest.hex()}\n{_standing_text(standing, language)}")
    value = standing | {
        "agreement": agreement.format(),
        "statements": [
            {"section": item.section, "key": item.key, "whom": list(item.whom),
             "label": item.label, "value": item.value}
            for item in said
        ],
    }  # fmt: skip
    following = f"lianfang audit agreement sign {directory} FILE"
    say(output, value, "\n".join(lines).lstrip("\n"), following)


@app.command()
def diff(
    directory: Directory,
    before: Annotated[str, typer.Argument(help="A file, or the first digits of a hash.")],
    after: Annotated[str, typer.Argument(help="The same.")],
    language: Shown = Language.EN,
    output: Formatted = Format.TEXT,
) -> None:
    """Show what changes from one version to another, and for whom."""
    from compliance.agreement.wording import compare

    home = _home(directory)
    old, new = home.find(before).agreement, home.find(after).agreement
    profiles = _profile(home, old), _profile(home, new)
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
    reason: Annotated[str, typer.Option(help="Why, for all parties to read; name no person.")] = "",
    apply: Annotated[
        Path | None, typer.Option(help="Take in the revocation of another party instead.")
    ] = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    output: Formatted = Format.TEXT,
) -> None:
    """End an agreement at once, for everybody; the file that is written goes to all parties."""
    from compliance.agreement.revocation import Revocation
    from compliance.agreement.revocation import revoke as end
    from compliance.files import write_atomically

    home = _home(directory)
    store, now = home.agreements(), int(time.time())
    if apply is not None:
        revocation = Revocation.decode(_read(apply))
    else:
        agreement = home.find(which).agreement
        if not yes:
            typer.confirm(
                f"End version {agreement.version} of {agreement.name} for everybody, at once?",
                abort=True,
                err=True,
            )
        revocation = end(home.identity(), agreement, home.name, reason=reason, now=now)
    store.keep_revocation(revocation, now=now)
    file = directory / f"revocation-{revocation.agreement.hex()[:12]}-{revocation.party}.json"
    write_atomically(file, revocation.encode())
    say(
        output,
        {"digest": revocation.agreement.hex(), "party": revocation.party,
         "state": store.state(revocation.agreement, now).value, "file": str(file)},
        f"{revocation.party} has ended {revocation.agreement.hex()[:12]}. "
        f"Send {file.name} to every party.",
        f"lianfang audit agreement draft {directory} FILE",
    )  # fmt: skip


def _home(directory: Path) -> AuditHome:
    from clients.audit.home import AuditHome
    from clients.node.home import Home

    node = Home(directory)
    node.config()  # a directory that is no node is told before anything is made in it
    return AuditHome(node)


def _profile_bytes(home: AuditHome, agreement: Agreement) -> bytes:
    """Return the profile's file: the kept one, or the one that comes with the program."""
    from compliance.agreement.profile import shipped_bytes

    kept = home.agreements().directory / "profiles" / f"{agreement.profile.digest.hex()}.json"
    return kept.read_bytes() if kept.exists() else shipped_bytes(agreement.profile.id)


def _profile(home: AuditHome, agreement: Agreement) -> Profile | None:
    """Return the profile for reading, if the very edition is at hand."""
    from compliance.agreement.profile import Profile

    found = Profile.parse(_profile_bytes(home, agreement))
    return found if found.digest == agreement.profile.digest else None


def _standing(home: AuditHome, signed: SignedAgreement) -> dict[str, Any]:
    from compliance.agreement.signing import verified_signers

    store, digest = home.agreements(), signed.agreement.digest
    kept = digest in store.digests()
    signers = verified_signers(signed, store.identities)
    return {
        "digest": digest.hex(),
        "state": store.state(digest, int(time.time())).value if kept else "draft",
        "signed": sorted(signers),
        "unverified": sorted(set(signed.signatures) - set(signers)),
        "missing": list(signed.missing),
        "kept": kept,
        "revoked_by": [
            {"party": item.party, "at": item.at, "reason": item.reason}
            for item in (store.revocations(digest) if kept else ())
        ],
    }


_STATES = {
    "draft": ("a draft: it permits nothing", "草案，不生效力"),
    "awaited": ("signed by all; its time has yet to come", "全部簽署，尚未生效"),
    "in_force": ("in force", "有效"),
    "superseded": ("superseded by a later version", "已由新版取代"),
    "ended": ("its time has run out", "已屆期"),
    "revoked": ("revoked", "已撤回"),
}


def _standing_text(standing: dict[str, Any], language: str) -> str:
    state = _STATES[standing["state"]][language == "zh"]
    signed, missing = ", ".join(standing["signed"]) or "-", ", ".join(standing["missing"]) or "-"
    lines = [
        f"狀態：{state}；已簽署：{signed}；尚缺：{missing}"
        if language == "zh"
        else f"State: {state}. Signed: {signed}. Missing: {missing}."
    ]
    if standing["unverified"]:
        label = "簽章未能驗證" if language == "zh" else "Signatures that do not hold here"
        lines.append(f"{label}: {', '.join(standing['unverified'])}")
    lines += [f"{item['party']}: {item['reason']}" for item in standing["revoked_by"]]
    return "\n".join(lines)


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
