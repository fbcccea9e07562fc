"""Removing a witness from the hub's list: two people decide it, and it is entered before it counts.

Fewer signatures then suffice to publish the log, so that it weighs as much as a change of
policies. A hub that is being served goes by the new list with its next checkpoint.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256

from compliance.configuration import ConfigError
from compliance.files import write_atomically
from compliance.office.about import About
from compliance.office.office import Office
from compliance.office.opening import FOLDER
from compliance.staff.acting import Acting
from compliance.staff.consents import MAX_WHAT
from protocols.tlog.entry import Verb
from server.home import HubHome
from server.log.opening import WITNESSES
from server.log.witnesses import Listed, Witnesses


@dataclass(frozen=True, slots=True)
class Unlisted:
    """The list before and after."""

    before: Witnesses
    after: Witnesses


def remove_witness(
    home: HubHome, office: Office, name: str, who: Acting, *, reason: str, quorum: int = 0
) -> Unlisted:
    """Remove a witness, once two people decided it and it is entered.

    Args:
        quorum: 0 for a majority of those that are left.

    Raises:
        ConfigError: nobody of this name is listed, or nobody would be left.
        NotPermittedError: the policies do not permit it; that is entered.
    """
    path = home.root / FOLDER / WITNESSES
    before = Witnesses.load(path) if path.exists() else Witnesses(0, ())
    after = _without(before, name, quorum)
    data = json.dumps(after.fields(), indent=1).encode()
    must = f"{after.quorum} of {len(after.listed)} must cosign"
    about = About(
        Verb.ALTER,
        f"{FOLDER}/witnesses",
        recipients=(name,),
        document=sha256(data).digest(),
        subject=f"witness {name} removed",
        reason=reason,
    )
    what = f"remove the witness {name} from the log of the hub; then {must}"[:MAX_WHAT]
    who.perform(office, "set_policy", about, what=what)
    write_atomically(path, data)
    return Unlisted(before, after)


def witness_of(home: HubHome, name: str) -> Witnesses | None:
    """Return the list if a partner stands on it.

    Raises:
        ConfigError: the file cannot be used.
    """
    path = home.root / FOLDER / WITNESSES
    found = Witnesses.load(path) if path.exists() else None
    return found if found is not None and _named(found, name) else None


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


def _named(found: Witnesses, name: str) -> tuple[Listed, ...]:
    return tuple(item for item in found.listed if item.name == name)
