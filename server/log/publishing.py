"""Publishing checkpoints as the log grows, in the background; appends never wait for it.

Every `interval_s` the log is signed as it is, and published if the quorum cosigns. Without
quorum nothing is published, the state says so, and the next try waits longer, up to
`LONGEST_WAIT_S`. A log that does not grow is shown to the witnesses every `refresh_s`, as a
sign of life: they hold an alarm ready for silence.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from server.log.outcomes import WitnessState
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


@dataclass(frozen=True, slots=True)
class PublicationState:
    """Whether the log is published as it grows.

    Args:
        sizes: by origin, up to where it is published.
        published_at: when that was last tried with success, Unix seconds; 0 if never.
        unwitnessed_since: since when there is no quorum, or None while there is one.
        text: why the last try failed; empty if it did not.
        is_corrupt: the log is not what was written; nothing more is tried.
    """

    sizes: Mapping[str, int] = field(default_factory=dict)
    published_at: int = 0
    unwitnessed_since: int | None = None
    text: str = ""
    is_corrupt: bool = False
    alarms: int = 0
    witnesses: tuple[WitnessState, ...] = ()

    @property
    def is_witnessed(self) -> bool:
        """Whether the last try found its quorum."""
        return self.published_at > 0 and self.unwitnessed_since is None and not self.is_corrupt


class Publishing:
    """Publishes one operator's logs from `start` to `stop`."""

    def __init__(
        self,
        log: Checkpoints,
        storage: Storage,
        witnessing: Witnessing,
        *,
        clock: Clock,
        interval_s: float = INTERVAL_S,
        refresh_s: float = REFRESH_S,
    ) -> None:
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

    def state(self) -> PublicationState:
        """Return how publication stands, with what became of each witness."""
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
            if self.publish():
                wait_s = self._interval_s
            elif self._is_corrupt():
                return
            else:
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def _is_corrupt(self) -> bool:
        with self._lock:
            return self._state.is_corrupt
