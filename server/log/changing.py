"""Changing who cosigns the log: two people decide it, and it is entered before it counts.

Who is listed, and how many of them must sign, says when the log is published; a list of the
wrong ones publishes what nobody has watched, or nothing at all. So it weighs as much as a
change of policies, the first witness of a hub included. A hub that is being served goes by the
new list with its next checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from compliance.configuration import ConfigError
from compliance.office.about import About
from compliance.office.office import Office
from compliance.office.opening import FOLDER
from compliance.staff.acting import Acting
from compliance.staff.consents import MAX_WHAT
from protocols.errors import MalformedMessageError
from protocols.link import check_party
from protocols.tlog.entry import Verb
from protocols.tlog.note import VerifierKey
from server.home import HubHome
from server.keeping.place import keeping_of
from server.log.opening import WITNESSES
from server.log.places import check_url
from server.log.witnesses import Listed, Witnesses

ACT = "set_policy"


@dataclass(frozen=True, slots=True)
class Changed:
    """The list before and after."""

    before: Witnesses
    after: Witnesses


def witness_named(name: str, keys: Sequence[str], *, url: str = "", authority: str = "") -> Listed:
    """Return a witness by what its officer read out.

    Raises:
        ConfigError: a name, key or URL is none.
    """
    try:
        check_party(name)
        found = Listed(name, tuple(map(VerifierKey.parse, keys)), url, authority)
    except MalformedMessageError as error:
        raise ConfigError(
            f"witness: {error}; copy what `lianfang audit witness key` prints"
        ) from error
    if url:
        check_url(url)
    return found


def add_witness(
    home: HubHome, office: Office, new: Listed, who: Acting, *, reason: str, quorum: int = 0
) -> Changed:
    """List a witness, or give a listed one other keys, once two people decided it.

    Args:
        quorum: 0 for a majority of all that are listed.

    Raises:
        ConfigError: the list would not hold together.
        NotPermittedError: the policies do not permit it; that is entered.
    """
    with _alone(home):
        before = Witnesses.load_any(_path(home))
        kept = tuple(item for item in before.listed if item.name != new.name)
        after = Witnesses(quorum or (len(kept) + 1) // 2 + 1, (*kept, new))
        after.policy(())  # refused before anybody is asked
        known = " in the place of its former keys" if _named(before, new.name) else ""
        place = f", asked at {new.url}" if new.url else ""
        # Whoever agrees compares them with what the officer read out.
        keys = ", ".join(key.key_id.hex() for key in new.keys)
        what = f"list the witness {new.name} of the log of the hub, keys {keys}{known}{place}"
        return _enter(
            home, office, who, Changed(before, after),
            name=new.name, how="listed", what=what, reason=reason,
        )  # fmt: skip


def remove_witness(
    home: HubHome, office: Office, name: str, who: Acting, *, reason: str, quorum: int = 0
) -> Changed:
    """Remove a witness, once two people decided it and it is entered.

    Args:
        quorum: 0 for a majority of those that are left.

    Raises:
        ConfigError: nobody of this name is listed, or nobody would be left.
        NotPermittedError: the policies do not permit it; that is entered.
    """
    with _alone(home):
        before = Witnesses.load_any(_path(home))
        after = _without(before, name, quorum)
        what = f"remove the witness {name} from the log of the hub"
        return _enter(
            home, office, who, Changed(before, after),
            name=name, how="removed", what=what, reason=reason,
        )  # fmt: skip


def witness_of(home: HubHome, name: str) -> Witnesses | None:
    """Return the list if a partner stands on it.

    Raises:
        ConfigError: the file cannot be used.
    """
    found = Witnesses.load_any(_path(home))
    return found if _named(found, name) else None


def _alone(home: HubHome) -> AbstractContextManager[None]:
    """Let one change at a time read the list, be decided, and replace it."""
    return keeping_of(home.root).locks.holding(WITNESSES)


def _enter(
    home: HubHome,
    office: Office,
    who: Acting,
    change: Changed,
    *,
    name: str,
    how: str,
    what: str,
    reason: str,
) -> Changed:
    """Enter the change as decided, then write the list; return the change."""
    after = change.after
    about = About(
        Verb.ALTER,
        f"{FOLDER}/witnesses",
        recipients=(name,),
        document=sha256(after.encode()).digest(),
        subject=f"witness {name} {how}",
        reason=reason,
    )
    must = f"then {after.quorum} of {len(after.listed)} must cosign"
    who.perform(office, ACT, about, what=f"{what}; {must}"[:MAX_WHAT])
    after.store(_path(home))
    return change


def _path(home: HubHome) -> Path:
    return home.root / FOLDER / WITNESSES


def _without(before: Witnesses, name: str, quorum: int) -> Witnesses:
    if not _named(before, name):
        names = ", ".join(item.name for item in before.listed) or "nobody"
        raise ConfigError(f"witness: {name[:32]} is not listed; listed: {names}")
    left = tuple(item for item in before.listed if item.name != name)
    if not left:
        raise ConfigError(
            f"witness: {name} is the last one, and the log would be published unwitnessed; "
            "list another one first with `lianfang-hub log witness add`"
        )
    after = Witnesses(quorum or len(left) // 2 + 1, left)
    after.policy(())  # refused before anybody is asked
    return after


def _named(found: Witnesses, name: str) -> bool:
    return any(item.name == name for item in found.listed)
