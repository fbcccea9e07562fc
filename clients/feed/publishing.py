"""Bringing the table at the hub to what the register says, and surviving every crash on the way.

    1 end what has expired; take up changed retention and a changed list of shared numbers
    2 in a new epoch: begin a new table
    3 if a version is pending: send it again, then count it as published
    4 ask for the roots of new identifiers (only blinded elements leave this machine)
    5 draft the next version; it is pending from here on
    6 send it; the hub takes the same version with the same root as often as it comes
    7 count it as published

One process at a time publishes; files and withdrawals may come in meanwhile. A crash after
any step is taken up by the next call: until 5 nothing of a version exists, from 5 to 7 the
same bytes are sent, so that a version number never stands for two tables.

If the quota does not cover all new identifiers, or too few holders are there, the others
are published, withdrawals above all. The first table of an epoch is the exception: an
incomplete one would show green where the table before showed red; a missing one shows grey.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from clients.feed.drafts import Drafter, table_of, tags_of
from clients.feed.home import FeedHome, Settings
from clients.feed.publication import Publication
from clients.feed.register import Actor, Register
from clients.feed.roots import Evaluates, evaluate_waiting, mark_shared
from clients.lookup.https import HubRefusedError
from clients.node.files import exclusive
from clients.output import CommandError
from compliance.errors import LogCorruptError, NotPermittedError
from protocols.epoch.manifest import EpochManifest
from protocols.link import TransportError
from protocols.lookup.delta import Delta
from protocols.lookup.derivation import TAG_SIZE
from protocols.lookup.header import SignedHeader
from protocols.lookup.payload import month_of
from protocols.lookup.record import RECORD_SIZE

if TYPE_CHECKING:
    from typing_extensions import Buffer  # in collections.abc from Python 3.12 on

CONFLICT = "version_conflict"

Progress = Callable[[str, int, int], None]


class Publishes(Protocol):
    """What is needed of `clients.lookup.api.HubApi`."""

    def publish(self, epoch: int, contributor: str, delta: Delta) -> None:
        """Put the next version in force; the same one again is without effect."""
        ...


@dataclass(frozen=True, slots=True)
class Published:
    """What a publication did.

    Attributes:
        version, count: of the table in force; is_new: whether this call brought it there.
        upserted, removed: records that came or changed, and that went.
        left: records that are not published yet, and `missed` why they are not.
    """

    epoch: int
    version: int
    count: int
    is_new: bool
    upserted: int = 0
    removed: int = 0
    expired: int = 0
    left: int = 0
    missed: HubRefusedError | TransportError | None = field(default=None, compare=False)


class Publisher:
    """Publishes one node's register to one hub.

    Args:
        permit: decides whether a table may be handed to the hub, and enters that it is.
    """

    def __init__(
        self,
        home: FeedHome,
        drafter: Drafter,
        *,
        api: Publishes,
        evaluator: Evaluates,
        permit: Callable[[SignedHeader], object],
        progress: Progress | None = None,
    ) -> None:
        self._home = home
        self._drafter = drafter
        self._register = drafter.register
        self._publication = Publication(drafter.register)
        self._api = api
        self._evaluator = evaluator
        self._permit = permit
        self._progress = progress or (lambda *_: None)
        _require_number(drafter.manifest, drafter.contributor)

    def publish(self, actor: Actor) -> Published:
        """Publish all that waits.

        Raises:
            TransportError: the hub stays away; what waits goes on waiting.
            NotPermittedError: agreement or policies stand against it.
            HubRefusedError: the hub refused; nothing is counted as published.
        """
        with exclusive(self._home.root):
            settings = self._home.settings()
            expired = keep_up(self._home, self._register, settings, actor)
            epoch = self._drafter.manifest.epoch
            self._publication.begin_epoch(epoch)
            steps = self._resume()
            missed = evaluate_waiting(
                self._register,
                self._evaluator,
                epoch,
                lambda done, total: self._progress("evaluating", done, total),
            )
            left = self._advance(steps, settings, actor, missed)
            return self._published(steps, expired, left, missed)

    def is_epoch_new(self) -> bool:
        """Whether nothing is published yet in the epoch in force."""
        before = self._publication.published
        return before is None or before.header.epoch != self._drafter.manifest.epoch

    def _resume(self) -> list[Delta]:
        """Send what a killed process left pending, and count it as published."""
        pending = self._publication.pending
        if pending is None:
            self._drafter.tidy()
            return []
        try:
            delta = Delta.decode(self._drafter.delta(pending).read_bytes())
        except FileNotFoundError as error:
            raise LogCorruptError(
                "feed tables: the pending version is missing; restore it, or run "
                "`lianfang feed publish --resynchronise`"
            ) from error
        self._send(delta)
        return [delta]

    def _advance(
        self,
        steps: list[Delta],
        settings: Settings,
        actor: Actor,
        missed: HubRefusedError | TransportError | None,
    ) -> int:
        """Draft and send the next version if there is reason; returns the records left out."""
        before = self._publication.published
        base = self._base(before)
        changes = self._drafter.changes(base, actor.now)
        if changes.left and (before is None or self._publication.is_adopted):
            raise missed or CommandError("feed: some roots are missing; run it again")
        if self._publication.is_adopted:
            changes.removed = tags_of(base) - {tag for *_, tag in changes.looked if tag}
        is_quiet = before is not None and not _is_due(before, settings, actor.now)
        if is_quiet and changes.is_empty:
            self._publication.settle(changes.looked)
            return changes.left
        delta = self._drafter.write(base, before, changes, actor.now)
        self._send(delta)
        steps.append(delta)
        return changes.left

    def _published(
        self,
        steps: list[Delta],
        expired: int,
        left: int,
        missed: HubRefusedError | TransportError | None,
    ) -> Published:
        signed = self._publication.published
        if signed is None:
            raise LogCorruptError("feed register: nothing is published after publishing")
        return Published(
            signed.header.epoch,
            signed.header.version,
            signed.header.count,
            is_new=bool(steps),
            upserted=sum(len(step.upserted) for step in steps) // RECORD_SIZE,
            removed=sum(len(step.removed) for step in steps) // TAG_SIZE,
            expired=expired,
            left=left,
            missed=missed,
        )

    def _base(self, before: SignedHeader | None) -> Buffer:
        if before is None:
            return b""
        return table_of(self._drafter.table(before), before.header)

    def _send(self, delta: Delta) -> None:
        header = delta.after.header
        self._permit(delta.after)
        self._progress("sending", 0, 1)
        try:
            self._api.publish(header.epoch, header.contributor, delta)
        except HubRefusedError as error:
            if error.code != CONFLICT:
                raise
            raise CommandError(
                "the hub has another version of this table than this register made; if the "
                "register was restored from a backup, give the reports since then and run "
                "`lianfang feed publish --resynchronise`"
            ) from error
        self._publication.confirm(delta.after)
        self._progress("sending", 1, 1)
        self._drafter.tidy()


def keep_up(home: FeedHome, register: Register, settings: Settings, actor: Actor) -> int:
    """Let time and changed settings have their effect; returns how many reports expired."""
    retention = json.dumps(sorted(settings.retention.items())).encode()
    if register.meta("retention") != retention:
        with register.transaction():
            register.reschedule(settings.retention)
            register.set_meta("retention", retention)
    stamp = home.benign_stamp()
    if register.meta("benign") != stamp:
        mark_shared(register, home.benign())
        with register.transaction():
            register.set_meta("benign", stamp)
    with register.transaction():
        return register.expire(month_of(actor.now), actor)


def _is_due(before: SignedHeader, settings: Settings, now: int) -> bool:
    """Whether desks would soon take a table without news for one that was held back."""
    return now - before.header.made_at >= settings.renew_after_s


def _require_number(manifest: EpochManifest, contributor: str) -> None:
    if contributor not in manifest.contributors:
        raise NotPermittedError(
            f"{contributor}: no contributor in epoch {manifest.epoch}; the holders must admit it "
            "when the next epoch begins"
        )
