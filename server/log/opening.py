"""The hub's log as a whole: where it lies, who witnesses it, how it is published and read.

    HUB/log/log.sqlite        entries, tiles, private parts, unless hub.json names a database
    HUB/log/log.key, parts.key
    HUB/log/witnesses.json    who cosigns; without it checkpoints are published unwitnessed
    HUB/log/alarms/           what witnesses said against the log, with the evidence
    HUB/log-second/           the last signed checkpoint: put it on another disk

The log of a year has the origin `<hub name>/audit/<year>`. Any process of the hub's operator
may open the log and append to it; the one that serves the hub publishes it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from compliance.agreement.store import AgreementStore
from compliance.agreement.vocabulary import Role
from compliance.clock import Clock, SystemClock
from compliance.configuration import ConfigError
from compliance.log.alarms import LogAlarms
from compliance.log.log import Cosign, Log, Prove
from compliance.log.private import PrivateParts
from compliance.log.second import CheckpointStore, FileCheckpoints
from compliance.log.storage import Storage
from compliance.log.yearly import YearlyLog
from compliance.office.keys import LogKeys, open_keys
from compliance.office.office import HUB, Office
from compliance.office.once import Alone
from compliance.office.opening import AUDIT, DOCUMENTS, FOLDER, SECOND
from compliance.policy.store import PolicyStore
from compliance.shelf import Shelf
from protocols.tlog.note import Note, SignatureLine, VerifierKey
from protocols.tlog.policy import NONE, Policy
from protocols.tlog.policy import Log as ListedLog
from server.home import HubHome
from server.keeping.locks import Lease
from server.keeping.place import Keeping, keeping_of
from server.log.board import FOLDER as BOARD
from server.log.board import Board
from server.log.following import FollowingCheckpoints
from server.log.journal import HubJournal
from server.log.listing import Listing
from server.log.places import Asks
from server.log.publishing import Publishing
from server.log.storages import storage_of
from server.log.witnesses import Witnesses
from server.log.witnessing import AskedWitness, Witnessing
from server.office import agreements_of, policies_of

_log = logging.getLogger("lianfang.log")
WITNESSES = "witnesses.json"
ALARMS = "alarms"
Listed = Callable[[], Witnesses | None]


@dataclass(slots=True)
class HubLog:
    """One hub's log, opened; `close` gives everything back.

    Args:
        prefix: the origins without their year.
        publishing: None in a process that only appends or reads.
    """

    prefix: str
    storage: Storage
    yearly: YearlyLog = field(repr=False)
    office: Office = field(repr=False)
    journal: HubJournal = field(repr=False)
    keys: LogKeys = field(repr=False)
    publishing: Publishing | None = None
    _listed: Listed = field(default=lambda: None, repr=False)
    _ending: ExitStack = field(default_factory=ExitStack, repr=False)

    @property
    def witnesses(self) -> Witnesses | None:
        """Who cosigns at this moment; None where nobody is listed."""
        return self._listed()

    @property
    def key(self) -> VerifierKey:
        """What verifies the log of the present year; those of other years differ in the name."""
        return self.keys.signer(self.yearly.origin()).key

    def policy_of(self, origin: str) -> Policy:
        """Return by which policy the checkpoints of one year are published."""
        return policy_of(self.witnesses, [self.keys.signer(origin).key])

    def close(self) -> None:
        """End publishing and give the files back."""
        self._ending.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Workers:
    """What several processes with one log take turns by.

    Args:
        alone: keeps the others from an act meanwhile.
        lease: held by the one that publishes; `board`, where it tells the others.
    """

    alone: Alone
    lease: Lease
    board: Board


def _following(directory: Path, storage: Storage, keys: LogKeys) -> CheckpointStore:
    return FollowingCheckpoints(
        FileCheckpoints(directory), storage, lambda origin: keys.signer(origin).key
    )


def _workers(keeping: Keeping) -> Workers:
    return Workers(
        keeping.locks.holding,
        keeping.locks.lease("log/publishing"),
        Board(keeping.documents(BOARD)),
    )


def open_log(home: HubHome, *, clock: Clock | None = None, links: Asks | None = None) -> HubLog:
    """Open the log in a hub's directory; made at the first time.

    Args:
        links: over which partners' witnesses are asked; None in a process that does not publish.

    Raises:
        ConfigError: a key or witnesses.json cannot be used; names the cure.
        LogCorruptError: the log is not what was written.
        StorageError: it cannot be reached.
    """
    # Read first: what is no hub's directory must not become one halfway, with keys in it.
    name = home.settings().name
    keeping = keeping_of(home.root)
    folder = home.root / FOLDER
    path, second = folder / WITNESSES, home.root / SECOND
    with ExitStack() as ending:
        storage = storage_of(home)
        ending.callback(storage.close)
        # Only the storage knows, wherever it lies, whether the log has begun.
        keys = open_keys(folder, begun=bool(storage.origins()))
        made = assemble(
            f"{name}/{AUDIT}",
            storage,
            _following(second, storage, keys) if keeping.is_shared else FileCheckpoints(second),
            keys,
            clock=clock or SystemClock(),
            agreements=agreements_of(home),
            policies=policies_of(home),
            documents=keeping.shelf(DOCUMENTS),
            workers=_workers(keeping) if keeping.is_shared else None,
            witnesses=Listing(path),
            links=links,
            folder=folder,
            ending=ending,
        )
    try:
        # Opened here and not at the first entry: what is wrong with it is told at once.
        made.yearly.log(made.yearly.origin())
    except BaseException:
        made.close()
        raise
    return made


def assemble(
    prefix: str,
    storage: Storage,
    second: CheckpointStore,
    keys: LogKeys,
    *,
    clock: Clock,
    folder: Path,
    agreements: AgreementStore,
    policies: PolicyStore,
    documents: Path | Shelf | None = None,
    workers: Workers | None = None,
    witnesses: Witnesses | Listed | None = None,
    links: Asks | None = None,
    random: Callable[[int], bytes] = os.urandom,
    ending: ExitStack | None = None,
) -> HubLog:
    """Put a log together over any storage.

    Args:
        documents: where plans and terms are kept; None for a directory beside `folder`.
        witnesses: who cosigns, or what tells it each time.
        workers: how several processes take turns; None where one alone serves.
        ending: what is to be given back after all of the log's own.
    """
    listed: Listed = witnesses if callable(witnesses) else lambda: witnesses

    def policy(origin: str) -> Policy:
        # No policy lists a key twice, and the key of all years is one: each has its own.
        return policy_of(listed(), [keys.signer(origin).key])

    with ending or ExitStack() as stack:
        witnessing = None
        cosign: Cosign = lambda _note, _prove: []  # noqa: E731  replaced where it publishes
        if links is not None:
            witnessing, cosign = _witnessing(
                listed=listed,
                policy=policy,
                storage=storage,
                clock=clock,
                folder=folder,
                links=links,
                ending=stack,
            )
        yearly = YearlyLog(
            storage,
            prefix,
            clock,
            lambda origin: Log(
                storage,
                second,
                keys.signer(origin),
                policy=lambda: policy(origin),
                cosign=cosign,
                clock=clock,
            ),
        )
        parts = PrivateParts(storage, master_key=keys.master, index_key=keys.index, random=random)
        office = Office(
            HUB,
            agreements=agreements,
            policies=policies,
            yearly=yearly,
            storage=storage,
            parts=parts,
            pseudonyms=keys.pseudonyms,
            clock=clock,
            policy_of=policy,
            documents=folder.parent / DOCUMENTS if documents is None else documents,
            alone=None if workers is None else workers.alone,
            kind=Role.HUB,
        )
        journal = HubJournal(office)
        publishing = None
        if witnessing is not None:
            publishing = Publishing(
                yearly,
                storage,
                witnessing,
                clock=clock,
                lease=None if workers is None else workers.lease,
                board=None if workers is None else workers.board,
            )
            stack.callback(publishing.stop)
        return HubLog(
            prefix, storage, yearly, office, journal, keys, publishing, listed, stack.pop_all()
        )


def policy_of(witnesses: Witnesses | None, keys: list[VerifierKey]) -> Policy:
    """Return the policy of these logs; where no witness is listed, it asks for none."""
    if witnesses is None:
        return Policy(tuple(ListedLog(key) for key in keys), (), (), NONE)
    return witnesses.policy(keys)


def _witnessing(
    *,
    listed: Listed,
    policy: Callable[[str], Policy],
    storage: Storage,
    clock: Clock,
    folder: Path,
    links: Asks,
    ending: ExitStack,
) -> tuple[Witnessing, Cosign]:
    alarms = LogAlarms(folder / ALARMS)
    ending.callback(alarms.close)

    def asked() -> list[AskedWitness]:
        found = listed()
        return [
            AskedWitness(item.name, item.keys, item.place(links, folder))
            for item in (found.listed if found is not None else ())
        ]

    seen = listed()  # before they are asked for: what changes meanwhile is found later
    made = Witnessing(
        asked(),
        policy_of=policy,
        alarms=alarms,
        size_of=lambda origin: storage.edge(origin).size,
        clock=clock,
    )
    ending.callback(made.close)

    def cosign(note: Note, prove: Prove) -> list[SignatureLine]:
        nonlocal seen
        found = listed()
        if found != seen:
            seen = found
            try:
                made.follow(asked())
            except ConfigError as error:
                _log.error("the former witnesses are asked: %s", error)
        return made.cosign(note, prove)

    return made, cosign
