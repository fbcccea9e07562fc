"""A partner's key holder: dials the hub, stays connected, answers with its share.

    hub -> holder   evaluate, keygen.announce, keygen.run, epoch.activate, epoch.end,
                    witness.add-checkpoint where the compliance office has made a witness's keys

Everything is judged here, by this node's own files: the hub is a line, not an authority.
Whatever ends the stream, the holder dials again, after 1, 2, 4 and up to 30 seconds, half of it
by chance; it says in its log that the hub is gone, and that it is back, and not each try. Shares
whose epoch is over are destroyed at the start and then once a day.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from types import TracebackType
from typing import Self

from clients.holder.following import AgreementFollower
from clients.holder.home import HolderHome
from clients.holder.keygen import HolderKeygen
from clients.holder.permitting import Permitting
from clients.holder.stream import RefusedError, StandingLink
from clients.holder.witnessing import NodeWitness
from clients.keys import KeyStoreError, credentials
from clients.node.standing_state import presence, state_of
from clients.office import node_office
from clients.transport import TransportError
from compliance.backoff import Backoff
from compliance.clock import Clock, SystemClock
from compliance.configuration import ConfigError
from compliance.errors import ComplianceError, NotPermittedError, UnknownPartnerError
from compliance.evaluations.holder import KeyHolder
from compliance.evaluations.setups import KeySetups
from compliance.operation.observing import UNOBSERVED, Answering, Observes
from protocols.epoch import orders
from protocols.errors import ProtocolError
from protocols.group.select import load_group
from protocols.oprf.suite import Mode, Random, Suite
from protocols.tlog.asking import ADD_CHECKPOINT

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 30.0
# A stream that lived this long was a good one: the next is dialled without growing waits.
GOOD_AFTER_S = 30.0
SETUP_DEADLINE_S = 60.0
DAY_S = 24 * 3600.0
PRESENCE = "node.presence"
# An answer waits for the disk twice, and those of one moment share the waiting; a set-up mostly
# waits too.
THREADS = 12

_log = logging.getLogger("lianfang.holder")


class HolderService:
    """One node's key holder, from `start` to `stop`."""

    def __init__(
        self,
        home: HolderHome,
        *,
        suite: Suite | None = None,
        clock: Clock | None = None,
        random: Random = os.urandom,
        deadline_s: float = SETUP_DEADLINE_S,
        observer: Observes = UNOBSERVED,
    ) -> None:
        self._home = home
        self._observer = observer
        self._config = home.config()
        home.policy()  # written at the first start, and a wrong one is told at once
        self._clock = clock or SystemClock()
        suite = suite or Suite(load_group(), Mode.VOPRF)
        self._store = home.store()
        self._book = home.book()
        self._office = node_office(home.node, clock=self._clock)
        self._office.observer = observer
        permitting = Permitting(self._office, lambda: state_of(home.node).holder_objection())
        identities = home.identities()
        self._holder = KeyHolder(
            self._config.name,
            suite,
            self._store,
            self._book,
            identities,
            self._clock,
            random,
            permit=permitting.evaluation,
        )
        self._setups = KeySetups(
            name=self._config.name,
            suite=suite,
            store=self._store,
            identity=home.identity(),
            identities=identities,
            clock=self._clock,
            random=random,
        )
        self._keygen = HolderKeygen(
            home, self._setups, self._store, permitting, deadline_s=deadline_s
        )
        self._witness = NodeWitness(home.node.root, self._clock)
        self._agreements = AgreementFollower(home.node)
        self._answers: dict[str, Callable[[bytes], bytes]] = {
            orders.EVALUATE: lambda body: self._holder.answer(body).answer.encode(),
            orders.ANNOUNCE: self._keygen.announce,
            orders.RUN: self._keygen.run,
            orders.ACTIVATE: self._keygen.activate,
            orders.END: self._keygen.end,
            ADD_CHECKPOINT: self._witness.answer,
            PRESENCE: lambda _: presence(home.node),
        }
        self._stop = threading.Event()
        self._connected = threading.Event()
        self._lock = threading.Lock()
        self._link: StandingLink | None = None
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="holder")
        self._threads = [
            threading.Thread(target=self._stay_connected, name="holder-link"),
            threading.Thread(target=self._keep_house, name="holder-house"),
        ]

    @property
    def connected(self) -> bool:
        """Whether the hub has let us in and the stream stands."""
        return self._connected.is_set()

    def start(self) -> None:
        """Dial in the background; returns at once."""
        self._witness.start()
        self._agreements.start()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Hang up, let answers in the making end, and return."""
        self._stop.set()
        with self._lock:
            if self._link is not None:
                self._link.close()
        for thread in self._threads:
            thread.join()
        self._pool.shutdown()
        self._agreements.stop()
        self._witness.stop()
        self._book.close()
        self._office.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _stay_connected(self) -> None:
        backoff = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S)
        told = ""
        while not self._stop.is_set():
            began = monotonic()
            reason = self._serve_once()
            if self._connected.is_set() or told != reason:
                if not self._stop.is_set():
                    _log.warning("standing link: %s", reason)
                self._note(connected=False, reason=reason)
                told = reason
            self._connected.clear()
            if monotonic() - began > GOOD_AFTER_S:
                backoff.reset()
            self._stop.wait(backoff.wait_s())

    def _serve_once(self) -> str:
        """Serve one stream to its end and say why it ended."""
        try:
            # Read anew each time: the hub may have moved, or the certificate been renewed.
            link = StandingLink(
                self._home.config().link,
                credentials(self._home.node.keys),
                name=self._config.name,
                answer=self._answer,
                pool=self._pool,
                on_greeted=self._greeted,
            )
            with self._lock:
                self._link = link
            if self._stop.is_set():
                link.close()
            link.serve()
        except (TransportError, ProtocolError, ConfigError, KeyStoreError) as error:
            return str(error)
        return "stopped"

    def _greeted(self) -> None:
        self._connected.set()
        self._agreements.look()
        self._note(connected=True, reason="")
        _log.info("standing link: connected")

    def _note(self, *, connected: bool, reason: str) -> None:
        status = {"connected": connected, "since": self._clock.now(), "reason": reason}
        try:
            self._home.note(status)
        except OSError as error:
            # A full disk must not end the service: the file is for people to read only.
            _log.warning("status: %s", error)

    def _answer(self, kind: str, body: bytes) -> bytes:
        """Answer one question of the hub, or refuse it under a stable code."""
        answer = self._answers.get(kind)
        if answer is None:
            raise RefusedError("unknown_question", f"this holder answers no {kind}")
        try:
            with self._observer.during(Answering(kind)):
                return answer(body)
        except RefusedError:
            raise
        except UnknownPartnerError as error:
            # Outwardly the same as a refused one, so that nobody can find out who takes part.
            if kind == orders.EVALUATE:
                raise RefusedError(NotPermittedError.code, "the asker is not permitted") from error
            raise RefusedError(error.code, str(error)) from error
        except (ProtocolError, ComplianceError, ConfigError, KeyStoreError) as error:
            _log.warning("%s refused: %s", kind, error)
            raise RefusedError(error.code, str(error)) from error
        except TransportError as error:
            raise RefusedError(error.code, str(error)) from error
        except Exception as error:
            _log.exception("%s failed", kind)
            raise RefusedError("internal_error", f"failed with {type(error).__name__}") from error

    def _keep_house(self) -> None:
        while True:
            try:
                for epoch in self._store.destroy_expired(self._clock.now()):
                    _log.info("epoch %d is over: its share was destroyed", epoch)
            except (ComplianceError, OSError) as error:
                _log.error("shares of past epochs cannot be destroyed: %s", error)
            if self._stop.wait(DAY_S):
                return
