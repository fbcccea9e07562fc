"""`lianfang-hub agreement`: draft, list, show, sign, revoke; works while the hub is served.

The hub signs as the party `hub`, with its identity key, by a person with a second one. What
is kept here is what partners fetch: they read it, sign it with their own programs, and send
their signatures.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compliance.commands.acting import AsOption, SecondOption
from compliance.commands.output import Format, Formatted, say
from server.acting import acting

if TYPE_CHECKING:
    from compliance.agreement.document import Agreement
    from compliance.agreement.store import AgreementStore
    from compliance.office.office import Office
    from server.home import HubHome

app = typer.Typer(help="What the parties allow each other.", no_args_is_help=True)

Directory = Annotated[Path, typer.Argument(help="The hub's directory.")]
Which = Annotated[str, typer.Argument(help="A file, or the first digits of a hash; else newest.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
DAY_S = 86_400
_FIRST = "lianfang-hub agreement draft"
_HUB = "hub"


class Language(StrEnum):
    """In which language an agreement is shown."""

    EN = "en"
    ZH = "zh"


Shown = Annotated[Language, typer.Option("--lang", help="zh or en.")]


@app.command()
def draft(
    directory: Directory,
    file: Annotated[Path, typer.Argument(help="Where to write the draft.")],
    name: Annotated[str, typer.Option(help="Name of the series.")] = "joint-defence",
    profile: Annotated[str, typer.Option(help="Jurisdiction: tw or eu.")] = "tw",
    begins: Annotated[str, typer.Option(help="First day, YYYY-MM-DD; today if empty.")] = "",
    days: Annotated[int, typer.Option(min=1, help="For how long.")] = 365,
    role: Annotated[list[str] | None, typer.Option(help="PARTY=insurer|telecom|police.")] = None,
    supersedes: Annotated[
        str, typer.Option(help="The version before: a file or the first digits of its hash.")
    ] = "",
    *,
    publish: Annotated[
        bool, typer.Option("--publish", help="Keep it here at once, for all parties to fetch.")
    ] = False,
    output: Formatted = Format.TEXT,
) -> None:
    """Write a first draft between the hub and all partners, with all columns that they named."""
    from compliance.agreement.finding import find_agreement
    from compliance.agreement.profile import shipped_bytes, shipped_profile
    from compliance.agreement.signing import SignedAgreement
    from compliance.configuration import ConfigError
    from compliance.files import write_atomically
    from server.agreements.drafts import draft_at_hub

    if file.exists():
        raise ConfigError(f"{file.name}: exists already; choose another name")
    home = _home(directory)
    store, start = _store(home), _day(begins)
    found = draft_at_hub(
        home,
        shipped_profile(profile),
        name=name,
        roles=_pairs(role),
        period=(start, start + days * DAY_S),
        former=find_agreement(store, supersedes, first=_FIRST).agreement if supersedes else None,
    )
    write_atomically(file, SignedAgreement(found, {}).format())
    if publish:
        store.keep(SignedAgreement(found, {}), profile=shipped_bytes(profile))
    say(
        output,
        {"file": str(file), "digest": found.digest.hex(), "version": found.version,
         "parties": list(found.names), "published": publish},
        f"Drafted version {found.version} between {', '.join(found.names)} in {file}.\n"
        "The legal bases are proposals; have counsel read them, and correct the file.",
        f"lianfang-hub agreement sign {directory} {file}",
    )  # fmt: skip


@app.command(name="list")
def list_all(
    directory: Directory, language: Shown = Language.EN, output: Formatted = Format.TEXT
) -> None:
    """List all versions, who has signed them, and how they stand."""
    from compliance.agreement.telling import list_kept

    found, text = list_kept(_store(_home(directory)), int(time.time()), language)
    say(output, {"agreements": found}, text, f"lianfang-hub agreement show {directory}")


@app.command()
def show(
    directory: Directory,
    which: Which = "",
    language: Shown = Language.EN,
    output: Formatted = Format.TEXT,
) -> None:
    """Show an agreement in sentences: who may do what, on which basis, up to which limits."""
    from compliance.agreement.finding import find_agreement, profile_to_read
    from compliance.agreement.telling import shown, standing_of

    store = _store(_home(directory))
    signed = find_agreement(store, which, first=_FIRST)
    standing = standing_of(store, signed, int(time.time()))
    profile = profile_to_read(store, signed.agreement)
    value, text = shown(signed.agreement, profile, language, standing)
    say(output, value, text, f"lianfang-hub agreement sign {directory} {value['digest'][:12]}")


@app.command()
def sign(
    directory: Directory,
    which: Annotated[str, typer.Argument(help="A file, or the first digits of a hash.")],
    profile: Annotated[
        str, typer.Option(help="First digits of a profile's hash that this program lacks.")
    ] = "",
    *,
    yes: Yes = False,
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Sign an agreement as the hub, and keep it for all parties to fetch."""
    from compliance.agreement.conformity import check_against_profile
    from compliance.agreement.finding import check_edition, find_agreement, profile_at_hand
    from compliance.agreement.profile import Profile
    from compliance.agreement.signing import sign_agreement, verify_agreement
    from compliance.files import write_atomically

    home = _home(directory)
    store, now = _store(home), int(time.time())
    given = find_agreement(store, which, first=_FIRST)
    agreement = verify_agreement(given, store.identities, draft=True)
    _check_parties(home, store, agreement)
    check_edition(agreement, profile)
    law = profile_at_hand(store, agreement)
    check_against_profile(agreement, Profile.parse(law))
    digest = agreement.digest
    if digest in store.versions():
        given = given.with_signatures(store.load(digest).signatures)
    if _HUB not in given.signatures:
        store.check_succession(agreement, now)
        if not yes:
            question = f"Sign version {agreement.version} of {agreement.name} for the hub?"
            typer.confirm(question, abort=True, err=True)
        with _office(home) as office:
            _act(home, office, "sign_agreement", agreement, by=by, second=second)
        own = sign_agreement(home.identity_key(), agreement, _HUB)
        given = given.with_signatures({_HUB: own})
    store.keep(given, profile=law, now=now)
    signed = store.load(digest)
    if Path(which).is_file():
        write_atomically(Path(which), signed.format())
    missing = list(signed.missing)
    say(
        output,
        {"digest": digest.hex(), "state": store.state(digest, now).value,
         "signed": sorted(signed.signatures), "missing": missing},
        f"Signed {digest.hex()[:12]} for the hub. "
        + (f"Still missing: {', '.join(missing)}. Until then it is a draft." if missing
           else "All parties have signed."),
        "at each partner: lianfang audit agreement sync NODE" if missing
        else f"lianfang-hub agreement show {directory} {digest.hex()[:12]}",
    )  # fmt: skip


@app.command()
def revoke(
    directory: Directory,
    which: Which = "",
    reason: Annotated[str, typer.Option(help="Why, for all parties to read; name no person.")] = "",
    *,
    yes: Yes = False,
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """End an agreement at once, for everybody; partners learn it with their next exchange."""
    from compliance.agreement.finding import find_agreement
    from compliance.agreement.revocation import revoke as end
    from compliance.configuration import ConfigError

    home = _home(directory)
    store, now = _store(home), int(time.time())
    agreement = find_agreement(store, which, first=_FIRST).agreement
    if not reason.strip():
        raise ConfigError("--reason: say why, for all parties to read")
    if not yes:
        question = f"End version {agreement.version} of {agreement.name} for everybody, at once?"
        typer.confirm(question, abort=True, err=True)
    with _office(home) as office:
        _act(home, office, "revoke_agreement", agreement, by=by, second=second, reason=reason)
    word = end(home.identity_key(), agreement, _HUB, reason=reason, now=now)
    store.keep_revocation(word, now=now)
    digest = agreement.digest
    say(
        output,
        {"digest": digest.hex(), "party": _HUB, "state": store.state(digest, now).value},
        f"The hub has ended {digest.hex()[:12]}.",
        f"lianfang-hub agreement list {directory}",
    )


def _home(directory: Path) -> HubHome:
    from server.home import HubHome

    home = HubHome(directory)
    home.settings()  # a directory that is no hub is told before anything is made in it
    return home


def _store(home: HubHome) -> AgreementStore:
    from server.office import agreements_of

    return agreements_of(home)


@contextmanager
def _office(home: HubHome) -> Iterator[Office]:
    from server.log.opening import open_log

    with open_log(home) as log:
        yield log.office


def _act(
    home: HubHome,
    office: Office,
    act: str,
    agreement: Agreement,
    *,
    by: str,
    second: str,
    reason: str = "",
) -> None:
    """Enter an act about an agreement as done, by whom it may be done; it is done after this.

    Raises:
        NotPermittedError: the policies say no, or a second person has yet to agree.
    """
    from compliance.office.about import About
    from protocols.tlog.entry import Verb

    digest = agreement.digest
    others = tuple(name for name in agreement.names if name != _HUB)
    about = About(
        Verb.ALTER, "agreement", recipients=others, count=1, document=digest,
        subject=f"agreement {digest.hex()}", reason=reason,
    )  # fmt: skip
    who = acting(home.root, office, name=by, second=second)
    what = f"{act.replace('_', ' ')} {digest.hex()[:12]}, version {agreement.version}"
    who.perform(office, act, about, what=what)


def _check_parties(home: HubHome, store: AgreementStore, agreement: Agreement) -> None:
    """Refuse to sign what is for another hub, or names anybody who has not joined as named."""
    from compliance.configuration import ConfigError

    if agreement.hub != home.settings().name:
        raise ConfigError(f"agreement.hub: this is {home.settings().name}; correct the draft")
    for party in agreement.parties:
        pinned = store.identities.get(party.name)
        if pinned is None or pinned.public_bytes_raw() != party.identity:
            raise ConfigError(
                f"agreement.parties: {party.name} has not joined with this key; draft anew"
            )


def _pairs(texts: list[str] | None) -> dict[str, str]:
    found = {}
    for text in texts or []:
        name, _, value = text.partition("=")
        if not name or not value:
            raise typer.BadParameter(f"--role: {text[:64]} is not PARTY=ROLE")
        found[name] = value
    return found


def _day(text: str) -> int:
    try:
        chosen = date.fromisoformat(text) if text else datetime.now(UTC).date()
    except ValueError as error:
        raise typer.BadParameter("--begins: must be a day, such as 2026-12-01") from error
    return int(datetime(chosen.year, chosen.month, chosen.day, tzinfo=UTC).timestamp())
