"""The hub's epochs: begun, refreshed and ended by the operator, kept in order by the clock.

Set-ups run in a thread of the hub process, one at a time; the operator's command follows
them over the control call. A manifest that all have signed is in use at the hub at once and
is delivered to every holder until it has confirmed, however often it is away: its share
waits in its draft meanwhile. An end is delivered in the same way.

Beginning, refresh and end are decided before anything is done, by the agreement and by the
policies, which want a person for each. They are entered in the hub's audit log before they
take effect: where the log cannot be written, nothing changes. What only the clock does, an
epoch whose time is over, needs nobody.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from functools import partial
from typing import Any

from compliance.agreement.document import Agreement
from compliance.configuration import ConfigError
from compliance.errors import ComplianceError, NotPermittedError, UnknownEpochError
from compliance.policy.decision import Decision
from protocols.epoch.manifest import EpochManifest
from protocols.epoch.setup import KeygenTerms
from protocols.errors import MalformedMessageError, OutOfTurnError, ProtocolError
from protocols.link import TransportError
from protocols.lookup.request import Purpose
from protocols.oprf.setup import SESSION_SIZE
from server.epochs.begin import DEADLINE_S, VERDICT_S, KeySetup, SetupFailedError
from server.epochs.choices import Wish, new_terms, refresh_terms
from server.epochs.delivery import Deliveries
from server.epochs.holding import HUB, Holding
from server.epochs.orders import Order
from server.link.relay import Relay
from server.log.journal import HubJournal
from server.standing.registry import Standing

ACTIONS = frozenset({"begin_epoch", "refresh_epoch", "end_epoch", "epoch_progress", "epoch_status"})
LOOK_EVERY_S = 2.0
DAY_S = 24 * 3600

_log = logging.getLogger("lianfang.epochs")


@dataclass(slots=True)
class Progress:
    """How far the last set-up has come, for the operator's command."""

    state: str = "none"
    epoch: int = 0
    refresh: bool = False
    step: str = ""
    done: int = 0
    total: int = 0
    failures: tuple[dict[str, str], ...] = ()

    def fields(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "state": self.state,
            "epoch": self.epoch,
            "refresh": self.refresh,
            "step": self.step,
            "done": self.done,
            "total": self.total,
            "failures": list(self.failures),
        }


class Epochs:
    """Answers the operator's requests about epochs; one per hub process.

    Args:
        journal: the hub's audit log.
        deadline_s, verdict_s: of a set-up, as `KeySetup`.
    """

    def __init__(
        self,
        relay: Relay,
        standing: Standing,
        holding: Holding,
        *,
        journal: HubJournal,
        deadline_s: float = DEADLINE_S,
        verdict_s: float = VERDICT_S,
    ) -> None:
        self._standing = standing
        self._holding = holding
        self._journal = journal
        self._setup = KeySetup(relay, standing, holding, deadline_s=deadline_s, verdict_s=verdict_s)
        self._lock = threading.Lock()
        self._deliveries = Deliveries(standing, holding)
        self._progress = Progress()
        self._stop = threading.Event()
        self._housekeeper = threading.Thread(target=self._keep_house, name="epochs", daemon=True)

    def start(self) -> None:
        """Destroy the shares of past epochs and begin to deliver."""
        self._housekeeper.start()

    def stop(self) -> None:
        """Deliver no more; ends the standing streams, so that no silent holder is waited for."""
        self._stop.set()
        self._standing.close()
        self._housekeeper.join()

    def control(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what the operator asks; a set-up goes on after the answer.

        Raises:
            ProtocolError: the request, or a choice in it, is wrong, or another set-up runs.
        """
        try:
            return self._control(request)
        except (ComplianceError, ConfigError) as error:
            raise OutOfTurnError(str(error)) from error

    def _control(self, request: dict[str, Any]) -> dict[str, Any]:
        match request:
            case {"action": "begin_epoch", **fields}:
                order, wish = Order.take(fields)
                return self._begin("begin_epoch", self._new_terms(order, Wish.parse(wish)), order)
            case {"action": "refresh_epoch", "epoch": int(epoch), **fields}:
                return self._begin("refresh_epoch", self._refresh_terms(epoch), _order(fields))
            case {"action": "end_epoch", "epoch": int(epoch), **fields}:
                return self._end(epoch, _order(fields))
            case {"action": "epoch_progress"}:
                with self._lock:
                    return self._progress.fields()
            case {"action": "epoch_status"}:
                return self.status()
        raise MalformedMessageError("control: unknown request about epochs")

    def status(self) -> dict[str, Any]:
        """Describe all epochs and who is connected."""
        now = self._holding.clock.now()
        store = self._holding.store
        epochs = [self._describe(store.manifest(epoch), now) for epoch in store.epochs()]
        return {"connected": sorted(self._standing.connected()), "epochs": epochs}

    def _agreed(self, order: Order, epoch: int) -> Agreement:
        """Return the agreement in force; without one the act is decided, and so refused."""
        try:
            agreed = self._journal.office.agreement()
        except ComplianceError:
            agreed = None
        if agreed is None:
            self._permit("begin_epoch", None, order, epoch)
            raise NotPermittedError("begin_epoch: no agreement is in force")
        return agreed

    def _new_terms(self, order: Order, wish: Wish) -> KeygenTerms:
        holding = self._holding
        epochs = holding.store.epochs()
        agreed = self._agreed(order, epochs[-1] + 1 if epochs else 1)
        wish = wish.under(agreed)
        for name in wish.holders:
            if name != HUB:
                holding.home.partner(name)
        grants = wish.grants(holding.home.partners(), agreed)
        publishers = [
            name
            for name, grant in grants.items()
            if Purpose.PUBLISH in grant.purposes and name in agreed.contributors
        ]
        return new_terms(
            wish,
            hub=holding.home.settings().name,
            grants=grants,
            numbers=holding.numbers(publishers),
            latest=holding.store.manifest(epochs[-1]) if epochs else None,
            session=holding.random(SESSION_SIZE),
            now=holding.clock.now(),
        )

    def _refresh_terms(self, epoch: int) -> KeygenTerms:
        """Return the terms that refresh an epoch; 0 stands for the one in force."""
        store, now = self._holding.store, self._holding.clock.now()
        current = store.manifest(epoch) if epoch else store.current(now)
        return refresh_terms(current, self._holding.random(SESSION_SIZE))

    def _permit(self, act: str, terms: KeygenTerms | None, order: Order, epoch: int) -> Decision:
        return self._journal.permit_epoch(
            act, terms, epoch=epoch, by=order.by, second=order.second, reason=order.reason
        )

    def _begin(self, act: str, terms: KeygenTerms, order: Order) -> dict[str, Any]:
        decision = self._permit(act, terms, order, terms.epoch)
        away = sorted(set(terms.holders) - {HUB} - self._standing.connected())
        if away:
            raise TransportError(
                f"{', '.join(away)}: not connected; ask its operator to run `lianfang node start`",
                retryable=True,
                party=away[0],
            )
        with self._lock:
            if self._progress.state == "running":
                raise OutOfTurnError(
                    f"epoch {self._progress.epoch}: its set-up is running; wait for its end"
                )
            self._progress = Progress("running", terms.epoch, terms.refresh)
        work = partial(self._work, terms, decision, order.reason)
        threading.Thread(target=work, name=terms.run, daemon=True).start()
        return {"epoch": terms.epoch, "session": terms.session.hex()}

    def _work(self, terms: KeygenTerms, decision: Decision, reason: str) -> None:
        try:
            signed = self._setup.run(terms, self._watch)
            made = EpochManifest.decode(signed.manifest_bytes)
            self._journal.epoch_changed(decision, made, reason=reason)
            manifest = self._holding.setups.activate(signed)
        except SetupFailedError as error:
            self._fail(error.fields())
            return
        except (ProtocolError, ComplianceError, TransportError) as error:
            self._fail([{"holder": HUB, "code": error.code, "text": str(error)}])
            return
        except Exception as error:  # noqa: BLE001  # a thread's end must be told, whatever it is
            _log.exception("set-up failed")
            text = f"failed with {type(error).__name__}"
            self._fail([{"holder": HUB, "code": "internal_error", "text": text}])
            return
        self._watch("deliver", 0, len(terms.holders) - 1)
        self._deliveries.deliver()
        waiting = self._deliveries.waiting(manifest)
        with self._lock:
            self._progress.done = self._progress.total - len(waiting)
            self._progress.state = "done"

    def _watch(self, step: str, done: int, total: int) -> None:
        with self._lock:
            self._progress.step, self._progress.done, self._progress.total = step, done, total

    def _fail(self, failures: list[dict[str, str]]) -> None:
        with self._lock:
            self._progress.failures = tuple(failures)
            self._progress.state = "failed"

    def _end(self, epoch: int, order: Order) -> dict[str, Any]:
        """Destroy the hub's share, for good, and have the other holders destroy theirs."""
        manifest = self._holding.store.manifest(epoch)
        decision = self._permit("end_epoch", None, order, epoch)
        self._journal.epoch_changed(decision, manifest, reason=order.reason)
        self._deliveries.end(epoch)
        self._holding.store.destroy_share(epoch)
        self._deliveries.deliver()
        return {"epoch": epoch, "waiting": sorted(self._deliveries.waiting(manifest))}

    def _keep_house(self) -> None:
        destroyed_at: int | None = None
        while not self._stop.is_set():
            now = self._holding.clock.now()
            try:
                if destroyed_at is None or now - destroyed_at >= DAY_S:
                    destroyed_at = now
                    for epoch in self._holding.store.destroy_expired(now):
                        _log.info("epoch %d is over: its share was destroyed", epoch)
                self._deliveries.deliver()
            except (ComplianceError, ConfigError, OSError) as error:
                _log.error("epochs: %s", error)
            self._stop.wait(LOOK_EVERY_S)

    def _describe(self, manifest: EpochManifest, now: int) -> dict[str, Any]:
        epoch, record = manifest.epoch, manifest.record
        used = self._holding.book.used
        return {
            "epoch": epoch,
            "generation": record.generation,
            "state": self._state(manifest, now),
            "not_before": manifest.not_before,
            "not_after": manifest.not_after,
            "grace_s": manifest.grace_s,
            "threshold": record.threshold,
            "holders": list(record.holders),
            "waiting": self._deliveries.waiting(manifest),
            "contributors": dict(manifest.contributors),
            "askers": {
                name: {
                    "quota": grant.quota,
                    "used": used(epoch, name),
                    "purposes": sorted(grant.purposes),
                }
                for name, grant in sorted(manifest.askers.items())
            },
            "digest": manifest.digest.hex(),
        }

    def _state(self, manifest: EpochManifest, now: int) -> str:
        if self._deliveries.has_ended(manifest.epoch):
            return "ended"
        try:
            self._holding.store.share(manifest.epoch)
        except UnknownEpochError:
            return "over"
        if now < manifest.not_before:
            return "to come"
        if manifest.covers(now):
            return "in force"
        return "grace" if manifest.serves(now) else "over"


def _order(fields: dict[str, Any]) -> Order:
    """Read who wants an act that has no fields of its own."""
    order, rest = Order.take(fields)
    if rest:
        raise MalformedMessageError("control: unknown fields of an act on an epoch")
    return order
