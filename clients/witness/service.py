"""A witness at work: one request in, one answer out, over whichever way it came.

    1 read the request, and find the log among the pinned ones
    2 decide once without a turn: what is refused never holds up anyone
    3 in a turn, decide again on what is cosigned there, sign, and store
    4 the turn has ended and the state is on disk: only then return the signatures

Whatever cannot be stored is answered 503, which every log takes for "not cosigned". Alarms
are raised after the decision and change no answer.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from clients.node.home import Home
from clients.witness.alarms import alarm_over, evidence_of, settle, watch_silence
from clients.witness.keys import load_witness_keys
from clients.witness.pins import Pins
from clients.witness.store import Seen, WitnessStore
from compliance.clock import Clock, SystemClock
from compliance.configuration import ConfigError
from compliance.errors import ComplianceError
from compliance.log.alarms import LogAlarms
from compliance.log.errors import StorageError
from protocols.errors import MalformedMessageError
from protocols.tlog.asking import WitnessAnswer
from protocols.tlog.note import Signer, VerifierKey
from protocols.tlog.witness import (
    TEXT_TYPE,
    AddCheckpoint,
    Cosigned,
    Head,
    Reason,
    Refused,
    decide,
)

FOLDER = "witness"
WATCH_EVERY_S = 60.0
_UNAVAILABLE = WitnessAnswer(503, TEXT_TYPE, b"unavailable\n")

_log = logging.getLogger("lianfang.witness")


class Witness:
    """One witness; for any number of threads. Several processes may serve one folder."""

    def __init__(
        self,
        *,
        pins: Pins,
        store: WitnessStore,
        alarms: LogAlarms,
        signers: Sequence[Signer],
        clock: Clock,
    ) -> None:
        self.pins = pins
        self.store = store
        self.alarms = alarms
        self._signers = tuple(signers)
        self._clock = clock
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None

    @property
    def keys(self) -> list[VerifierKey]:
        """What others need to verify our cosignatures."""
        return [signer.key for signer in self._signers]

    def add_checkpoint(self, body: bytes) -> WitnessAnswer:
        """Answer one request (C2SP tlog-witness, add-checkpoint)."""
        try:
            request = AddCheckpoint.decode(body)
        except MalformedMessageError:
            return WitnessAnswer(*Refused(Reason.MALFORMED).answer)
        try:
            keys = self.pins.keys_of(request.checkpoint.origin)
            outcome = self._decide(request, keys)
        except (ComplianceError, ConfigError, OSError) as error:
            _log.error("not cosigned: %s", error)
            return _UNAVAILABLE
        self._note(request, keys or (), outcome)
        return WitnessAnswer(*outcome.answer)

    def answer(self, body: bytes) -> bytes:
        """Answer one request that came over the standing link (`protocols.tlog.asking`)."""
        return self.add_checkpoint(body).encode()

    def watch(self) -> None:
        """Look once for logs that are silent.

        Raises:
            ConfigError, ComplianceError, OSError: a file of the witness cannot be used.
        """
        now = self._clock.now()
        watch_silence(self.alarms, self.pins.all(), self.store.all_latest(), now)

    def start(self) -> None:
        """Watch for silent logs in the background, until `stop`."""
        self._watcher = threading.Thread(target=self._keep_watch, name="witness", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """End the watch and give the files back."""
        self._stop.set()
        if self._watcher is not None:
            self._watcher.join()
        self.alarms.close()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _decide(
        self, request: AddCheckpoint, keys: Sequence[VerifierKey] | None
    ) -> Cosigned | Refused:
        origin, now = request.checkpoint.origin, self._clock.now()
        held = None if keys is None else self.store.latest(origin)
        first = decide(request, keys=keys, head=_head(held), signers=(), now=now)
        if isinstance(first, Refused):
            return first
        with self.store.turn() as turn:
            outcome = decide(
                request, keys=keys, head=_head(turn.latest(origin)), signers=self._signers, now=now
            )
            if isinstance(outcome, Cosigned):
                # Kept without our own lines: what the log signed is what proves a fork.
                turn.store(Seen(request.checkpoint, first.note.encode(), now))
        return outcome

    def _note(
        self, request: AddCheckpoint, keys: Sequence[VerifierKey], outcome: Cosigned | Refused
    ) -> None:
        # What no pinned key signed says nothing, and is not worth a line of a log either.
        if not keys or (isinstance(outcome, Refused) and outcome.reason is Reason.NOT_SIGNED):
            return
        checkpoint = request.checkpoint
        _log.info("%s: size %d: %d", checkpoint.origin, checkpoint.size, outcome.answer[0])
        try:
            if isinstance(outcome, Cosigned):
                settle(self.alarms, self.pins.all(), checkpoint, self._clock.now())
            else:
                self._suspect(request, keys, outcome)
        except (ComplianceError, ConfigError, OSError, RuntimeError) as error:
            # The answer stands; what was refused stays refused.
            _log.error("alarms cannot be kept: %s", error)

    def _suspect(
        self, request: AddCheckpoint, keys: Sequence[VerifierKey], refused: Refused
    ) -> None:
        checkpoint, now = request.checkpoint, self._clock.now()
        held = self.store.latest(checkpoint.origin)
        same_size = self.store.at_size(checkpoint.origin, checkpoint.size)
        alarm = alarm_over(request, refused, held=held, same_size=same_size, now=now)
        if alarm is not None:
            evidence = evidence_of(request, keys, held=held, same_size=same_size)
            if self.alarms.raise_alarm(alarm, evidence):
                _log.error("alarm: %s: %s: %s", alarm.kind, alarm.log, alarm.text)

    def _keep_watch(self) -> None:
        while not self._stop.wait(WATCH_EVERY_S):
            try:
                self.watch()
            except (ComplianceError, ConfigError, OSError, RuntimeError) as error:
                _log.error("watch over silent logs: %s", error)


def witness_folder(root: Path) -> Path:
    """Return the witness's directory of a node, NODE/witness."""
    return Home(root).root / FOLDER


def open_witness(root: Path, *, clock: Clock | None = None) -> Witness:
    """Open the witness of a node; `stop` gives its files back.

    Raises:
        KeyStoreError: its keys are missing or damaged; names the cure.
        ConfigError: its pinned logs cannot be read.
        StorageError: its state cannot be opened.
    """
    folder = witness_folder(root)
    signers = load_witness_keys(Home(root).keys)
    pins = Pins(folder)
    pins.all()  # a wrong one is told at once
    store = WitnessStore(folder)
    try:
        alarms = LogAlarms(folder)
    except (ComplianceError, OSError) as error:
        store.close()
        raise StorageError("witness: its alarms cannot be opened") from error
    return Witness(
        pins=pins, store=store, alarms=alarms, signers=signers, clock=clock or SystemClock()
    )


def _head(seen: Seen | None) -> Head:
    return Head() if seen is None else seen.head
