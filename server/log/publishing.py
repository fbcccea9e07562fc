"""Publishing checkpoints as the log grows, in the background; appends never wait for it.

Every `interval_s` the log is signed as it is, and published if the quorum cosigns. Without
quorum nothing is published, the state says so, and the next try waits longer, up to
`LONGEST_WAIT_S`. A log that does not grow is shown to the witnesses every `refresh_s`, as a
sign of life: they hold an alarm ready for silence.

Of several workers one publishes at a time, whichever holds the lease; the others look every
`interval_s` whether it still does, and one of them goes on when it has died. Two that publish
at once, because a connection to the database was lost unnoticed, do no harm: a checkpoint is
only ever replaced by a later one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from time import monotonic
from typing import Protocol

from compliance.clock import Clock
from compliance.errors import ComplianceError, LogCorruptError
from compliance.log.errors import NotWitnessedError
from compliance.log.storage import Storage
from compliance.log.tree import StoredTree
from protocols.errors import ProtocolError
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.note import Note
from server.keeping.locks import Lease
from server.log.board import Board
from server.log.publication import PublicationState
from server.log.witnessing import Witnessing

INTERVAL_S = 2.0
LONGEST_WAIT_S = 30.0
REFRESH_S = 6 * 3600.0

_log = logging.getLogger("lianfang.log")


class Checkpoints(Protocol):
    """What is published (`compliance.log.yearly.YearlyLog`)."""

    def checkpoint(self) -> list[Note]:
        """Sign, have witnessed and publish; return what stands published."""
        ...


class Publishing:
    """Publishes one operator's logs from `start` to `stop`.

    Args:
        lease: held by the worker that publishes; None where there is only one.
        board: where that worker tells the others how publication stands.
    """

    def __init__(
        self,
        log: Checkpoints,
        storage: Storage,
        witnessing: Witnessing,
        *,
        clock: Clock,
        interval_s: float = INTERVAL_S,
        refresh_s: float = REFRESH_S,
        lease: Lease | None = None,
        board: Board | None = None,
    ) -> None:
        self._lease = lease
        self._board = board
        self._leads = lease is None
        self._log = log
        self._storage = storage
        self._witnessing = witnessing
        self._clock = clock
        self._interval_s = interval_s
        self._refresh_s = refresh_s
        self._lock = threading.Lock()
        self._one = threading.Lock()
        self._state = PublicationState()
        self._shown_at = monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_publishing, name="log-publishing")

    def start(self) -> None:
        """Publish in the background from here on."""
        self._thread.start()

    def stop(self) -> None:
        """End after the try at hand; what is unpublished is published after the next start."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._lease is not None:
            self._lease.close()

    def state(self) -> PublicationState:
        """Return how publication stands, with what became of each witness."""
        if not self._leads and self._board is not None:
            return self._board.read()
        return self._own_state()

    def _own_state(self) -> PublicationState:
        with self._lock:
            found = self._state
        states = tuple(self._witnessing.states())
        return replace(found, alarms=self._witnessing.alarms_open(), witnesses=states)

    def publish(self) -> bool:
        """Try once; tell whether everything is published."""
        with self._one:
            now = self._clock.now()
            try:
                notes = self._log.checkpoint()
                self._refresh(notes)
            except LogCorruptError as error:
                _log.critical("the log is corrupt: %s", error)
                self._failed(str(error), now, is_corrupt=True)
            except NotWitnessedError as error:
                self._failed(str(error), now)
            except (ComplianceError, ProtocolError, OSError) as error:
                _log.error("the log cannot be published: %s", error)
                self._failed(str(error), now)
            else:
                self._succeeded(notes, now)
                return True
            return False

    def _succeeded(self, notes: Sequence[Note], now: int) -> None:
        checkpoints = [Checkpoint.parse(note.text) for note in notes]
        with self._lock:
            before = self._state
            sizes = {**before.sizes, **{item.origin: item.size for item in checkpoints}}
            self._state = PublicationState(sizes=sizes, published_at=now)
        if before.sizes != sizes:
            self._shown_at = monotonic()
        if before.unwitnessed_since is not None:
            _log.warning("the log is witnessed again")

    def _failed(self, text: str, now: int, *, is_corrupt: bool = False) -> None:
        with self._lock:
            before = self._state
            since = before.unwitnessed_since
            self._state = replace(
                before,
                unwitnessed_since=now if since is None else since,
                text=text,
                is_corrupt=is_corrupt,
            )
        if since is None:
            _log.warning("the log is not published: %s", text)

    def _refresh(self, notes: Sequence[Note]) -> None:
        """Show the witnesses a log that does not grow; who is behind catches up as well."""
        if monotonic() - self._shown_at < self._refresh_s:
            return
        self._shown_at = monotonic()
        for note in notes:
            found = Checkpoint.parse(note.text)
            tree = StoredTree(self._storage, found.origin, found.size)
            self._witnessing.cosign(note, tree.prove_consistency)

    def _keep_publishing(self) -> None:
        wait_s = self._interval_s
        while not self._stop.wait(wait_s):
            if not self._is_leading() or self._publish_and_tell():
                wait_s = self._interval_s
            elif self._is_corrupt():
                return
            else:
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def _is_leading(self) -> bool:
        """Report whether it is this worker that publishes; none does without the database."""
        if self._lease is None:
            return True
        try:
            leads = self._lease.holds()
        except ComplianceError as error:
            _log.error("the log is published by nobody here: %s", error)
            return False
        if leads != self._leads:
            _log.info("the log is published by %s", "this process" if leads else "another one")
        self._leads = leads
        return leads

    def _publish_and_tell(self) -> bool:
        done = self.publish()
        if self._board is not None:
            try:
                self._board.tell(self._own_state())
            except ComplianceError as error:
                _log.error("how the log is published cannot be told: %s", error)
        return done

    def _is_corrupt(self) -> bool:
        with self._lock:
            return self._state.is_corrupt
