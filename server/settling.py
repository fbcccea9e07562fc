"""Making up for what a restored hub has forgotten; see `compliance.backup.settled`.

    1  the log is brought up to the newest checkpoint that anybody shows
    2  two people decide that this is all, with a reason; a refusal changes nothing further
    3  evaluations that the log has and the book has not are charged; where nobody has a copy
       of the log, what is left of every quota of an epoch that is served
    4  partners that were shut out since are shut out again; open invitations end
    5  it is entered, and the mark goes: the hub may be served

Each step may be repeated after a crash.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from compliance.backup.logs import Shown, bring_up, entries_since, shown
from compliance.backup.quotas import exhaust_quotas, recover_quotas
from compliance.backup.settled import Restored, finish, restored
from compliance.configuration import ConfigError
from compliance.exports.source import open_source
from compliance.log.log import verify_own
from compliance.log.second import FileCheckpoints
from compliance.log.storage import Storage
from compliance.office.about import About
from compliance.office.keys import LogKeys, open_keys
from compliance.office.office import Office
from compliance.office.opening import AUDIT, FOLDER, SECOND
from compliance.staff.acting import Acting
from protocols.codec import canonical_json
from protocols.tlog.entry import Entry, Outcome, Verb
from server.enrolment.invitations import Invitations
from server.epochs.holding import open_holding
from server.home import HubHome
from server.log.opening import open_log
from server.log.storages import storage_of

ACT = "close_incident"
MATTER = "restore"
# What people decided since the backup, and have to do once more or look at.
TOLD = frozenset(
    {"approve_partner", "remove_partner", "grant_role", "set_policy", "pin_key", "publish"}
    | {"sign_agreement", "revoke_agreement", "begin_epoch", "refresh_epoch", "end_epoch"}
)

Identify = Callable[[Office], Acting]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Given:
    """What the officer gives.

    Args:
        copies: of the hub's logs, as partners fetched them.
        seen: checkpoints that witnesses or a surviving second place hold.
        unseen: nobody has either, which the officer answers for.
    """

    copies: Sequence[Path] = ()
    seen: Sequence[Path] = ()
    unseen: bool = False


def settle_hub(
    home: HubHome, given: Given, identify: Identify, *, reason: str, progress: Progress
) -> dict[str, Any]:
    """Settle a restored hub; return what was found and done.

    Raises:
        ConfigError: nothing is to be settled, or what was given does not suffice.
        LogCorruptError: a copy of the log does not hold, or contradicts it.
        NotPermittedError: the policies do not permit it; that is entered.
    """
    mark = restored(home.root)
    if mark is None:
        raise ConfigError(f"{home.root}: was not put back from a backup, or is settled")
    if given.unseen == bool(given.copies or given.seen):
        raise ConfigError(
            "settle: give --copy of what a partner fetched of the log since, or --seen with the "
            "newest checkpoint of its witnesses; or --unseen, if nobody has either"
        )
    added = _bring_up(home, given, mark, progress)
    now = int(time.time())
    with open_log(home) as log:
        missed = {
            origin: list(entries_since(log.storage, origin, mark.size_of(origin)))
            for origin in log.storage.origins()
        }
        about = About(Verb.ALTER, MATTER, count=sum(added.values()), reason=reason)
        who = identify(log.office)
        decision = who.permit(log.office, ACT, about, what="go on from a backup", details=added)
        outcome = {
            "recovered_entries": added,
            "charged_elements": _charge(home, given, mark, log.storage, now),
            "shut_out": _shut_out(home, missed, now),
            "ended_invitations": Invitations(home.root).end_open(),
            "to_look_at": [_told(entry) for found in missed.values() for entry in found
                           if entry.act in TOLD],
        }  # fmt: skip
        document = sha256(canonical_json(outcome)).digest()
        log.office.enter(decision, replace(about, document=document))
    finish(home.root, mark, outcome)
    return outcome


def _bring_up(home: HubHome, given: Given, mark: Restored, progress: Progress) -> dict[str, int]:
    """Bring every log up; return how many entries came back since the backup, by origin.

    Counted from the mark: an attempt before this one, refused or killed, may have added them.
    """
    prefix = f"{home.settings().name}/{AUDIT}"
    with ExitStack() as ending:
        storage = storage_of(home)
        ending.callback(storage.close)
        keys = open_keys(home.root / FOLDER, begun=True)
        sources = [ending.enter_context(open_source(path)) for path in given.copies]
        notes = [_read(path) for path in given.seen]
        origins = sorted({*storage.origins(), *(found.checkpoint().origin for found in sources)})
        _check_ours(origins, prefix)
        second = FileCheckpoints(home.root / SECOND)
        for origin in origins:
            bring_up(
                storage,
                second,
                keys.signer(origin),
                seen=_seen(notes, keys, origin),
                copies=[item for item in sources if item.checkpoint().origin == origin],
                progress=progress,
            )
        reached = {
            origin: verify_own(note, keys.signer(origin).key).size
            for origin in origins
            if (note := second.load(origin)) is not None
        }
        since = {origin: size - mark.size_of(origin) for origin, size in reached.items()}
        return {origin: count for origin, count in since.items() if count > 0}


def _check_ours(origins: Iterable[str], prefix: str) -> None:
    for origin in origins:
        if not origin.startswith(f"{prefix}/"):
            raise ConfigError(f"copy: of {origin}, which is no log of this hub; take it out")


def _seen(notes: Sequence[bytes], keys: LogKeys, origin: str) -> list[Shown]:
    return shown(notes, keys.signer(origin).key)


def _charge(home: HubHome, given: Given, mark: Restored, storage: Storage, now: int) -> int:
    holding = open_holding(home)
    try:
        # All of each log: what the book has is told from what it lacks by how often it is there.
        total = sum(
            recover_quotas(
                holding.book,
                origin,
                entries_since(storage, origin, 0),
                since=mark.made_at,
                now=now,
            )
            for origin in storage.origins()
        )
        if given.unseen:
            for manifest in holding.store.served(now):
                quotas = [(name, grant.quota) for name, grant in manifest.askers.items()]
                total += exhaust_quotas(holding.book, manifest.epoch, quotas, now=now)
        return total
    finally:
        holding.close()


def _shut_out(home: HubHome, missed: dict[str, list[Entry]], now: int) -> list[str]:
    """Revoke again who was revoked since the backup."""
    names = {
        name
        for entries in missed.values()
        for entry in entries
        if entry.act == "remove_partner" and entry.outcome is Outcome.DONE
        for name in entry.recipients
    }
    found = sorted(names & set(home.partners()))
    for name in found:
        home.revoke(name, now)
    return found


def _told(entry: Entry) -> dict[str, Any]:
    return {
        "act": entry.act,
        "at": entry.time,
        "matter": entry.subject_matter,
        "recipients": list(entry.recipients),
        "outcome": entry.outcome.value,
    }


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read; correct the path") from error
