"""Who may read which table: the epoch's manifest says who is there, agreement and policies decide.

Tables are for those who have a part in the epoch. Everybody else gets the answer that an
epoch which does not exist gets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from fastapi import Depends

from compliance.errors import NotPermittedError, UnknownEpochError
from protocols.epoch.manifest import EpochManifest
from server.api.errors import NotFoundError
from server.api.parts import Caller, Contributor, Epoch, Parts, Services, Version
from server.tables.errors import NotKeptError
from server.tables.store import Snapshot


@dataclass(frozen=True, slots=True)
class Granted:
    """A version that the caller may have.

    Args:
        enter: enters that the caller is given it; to be called before anything is given.
    """

    snapshot: Snapshot
    enter: Callable[[], object]


def readable(parts: Parts, caller: str, epoch: int) -> EpochManifest:
    """Return the manifest of an epoch that the caller has a part in.

    Raises:
        NotFoundError: there is no such epoch, or the caller has none.
    """
    try:
        manifest = parts.epochs.manifest(epoch)
    except UnknownEpochError as error:
        raise NotFoundError(f"epoch {epoch}: not here") from error
    if caller not in partakers(manifest):
        raise NotFoundError(f"epoch {epoch}: the caller has no part in it")
    return manifest


def partakers(manifest: EpochManifest) -> set[str]:
    """Return the names of all that have a part in an epoch."""
    return {*manifest.askers, *manifest.contributors, *manifest.record.holders}


def granted(
    parts: Services, caller: Caller, epoch: Epoch, contributor: Contributor, version: Version
) -> Granted:
    """Decide whether the caller may have the version that a path names; a denial is entered.

    Raises:
        NotFoundError, NotKeptError: answered alike.
        NotPermittedError: agreement or policies do not permit it.
    """
    if contributor not in readable(parts, caller, epoch).contributors:
        raise NotFoundError("table: no such contributor")
    journal = parts.log.journal
    try:
        snapshot = parts.tables.snapshot(epoch, contributor, version)
    except NotKeptError as error:
        # Who may not have the table is not told either which versions there are.
        if not journal.may_fetch(caller, contributor):
            raise NotPermittedError("table: the caller may not have it") from error
        raise
    decision = journal.permit_table(caller, snapshot.signed)
    return Granted(snapshot, partial(journal.table_fetched, decision, caller, snapshot.signed))


Readable = Annotated[Granted, Depends(granted)]
