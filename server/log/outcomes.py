"""What became of the requests to the witnesses: a state of each, and alarms with evidence.

A witness's word that we contradict ourselves is unproven: it is kept with what was sent and
answered, and stands until the witness cosigns a later checkpoint, by which it has checked
that all it saw is part of it, or until a person closes it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from compliance.clock import Clock
from compliance.errors import ComplianceError
from compliance.log.alarms import Alarm, AlarmKind, LogAlarms
from protocols.tlog.asking import WitnessAnswer
from protocols.tlog.checkpoint import Checkpoint

_log = logging.getLogger("lianfang.log")


class Standing(StrEnum):
    """How the hub stands with a witness since it was last asked."""

    UNASKED = "unasked"
    COSIGNED = "cosigned"
    AWAY = "away"
    REFUSED = "refused"  # it does not know the log, or answered what it must not
    OVERTAKEN = "overtaken"  # it has cosigned a later checkpoint of ours already
    DOUBTS = "doubts"  # it says that we contradict ourselves, or show less than before


@dataclass(frozen=True, slots=True)
class WitnessState:
    """What became of the last request to a witness.

    Args:
        size: of the checkpoint that it last cosigned, `at` when; 0 if none yet.
        text: why it did not cosign, for people; empty if it did.
    """

    name: str
    standing: Standing = Standing.UNASKED
    size: int = 0
    at: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request to a witness and its answer: what an alarm is judged by."""

    witness: str
    checkpoint: Checkpoint
    request: bytes
    answer: WitnessAnswer


class Outcomes:
    """The states of a set of witnesses, and the alarms that they gave rise to."""

    def __init__(self, names: Iterable[str], alarms: LogAlarms, clock: Clock) -> None:
        self._alarms = alarms
        self._clock = clock
        self._lock = threading.Lock()
        self._states = {name: WitnessState(name) for name in names}

    def follow(self, names: Iterable[str]) -> None:
        """Keep the states of these witnesses from now on; those that stay have theirs."""
        with self._lock:
            before = self._states
            self._states = {name: before.get(name, WitnessState(name)) for name in names}

    def states(self) -> list[WitnessState]:
        """Return what became of the last request to each witness."""
        with self._lock:
            return list(self._states.values())

    def alarms_open(self) -> int:
        """Return how many alarms nobody has closed."""
        return len(self._alarms.open())

    def tell(self, name: str, standing: Standing, text: str) -> None:
        """Take down that a witness did not cosign."""
        with self._lock:
            before = self._states.get(name)
            if before is None:
                return  # removed while it was asked
            self._states[name] = replace(before, standing=standing, text=text)
        if (before.standing, before.text) != (standing, text):
            _log.warning("witness %s: %s: %s", name, standing, text)

    def cosigned(self, name: str, checkpoint: Checkpoint) -> None:
        """Take down that a witness cosigned, which settles its doubts about this log."""
        now = self._clock.now()
        with self._lock:
            if name not in self._states:
                return  # removed while it was asked
            self._states[name] = WitnessState(name, Standing.COSIGNED, checkpoint.size, now)
        try:
            for raised in self._alarms.open():
                if (raised.alarm.witness, raised.alarm.log) == (name, checkpoint.origin):
                    reason = f"cosigned size {checkpoint.size}"
                    self._alarms.close_alarm(raised.number, at=now, reason=reason)
        except (ComplianceError, OSError, RuntimeError) as error:
            # The cosignature is good all the same.
            _log.error("alarms cannot be kept: %s", error)

    def contradicted(self, exchange: Exchange) -> None:
        """Take down that a witness says that a checkpoint contradicts what it cosigned."""
        checkpoint = exchange.checkpoint
        self._doubt(
            exchange,
            AlarmKind.INCONSISTENT,
            checkpoint.size,
            checkpoint.root,
            f"fork: it says that size {checkpoint.size} contradicts what it cosigned",
        )

    def fell_behind(self, exchange: Exchange, known_size: int) -> None:
        """Take down that a witness says that it has cosigned more than the log has."""
        text = f"rollback: it says that it has cosigned size {known_size}; the log has less"
        self._doubt(exchange, AlarmKind.ROLLBACK, known_size, b"", text)

    def _doubt(
        self, exchange: Exchange, kind: AlarmKind, size: int, root: bytes, text: str
    ) -> None:
        name, log = exchange.witness, exchange.checkpoint.origin
        self.tell(name, Standing.DOUBTS, text)
        alarm = Alarm(kind, self._clock.now(), log, text, size, root, name)
        evidence = {"request": exchange.request, "answer": exchange.answer.encode()}
        try:
            if self._alarms.raise_alarm(alarm, evidence):
                _log.error("alarm: %s: %s: %s", name, log, text)
        except (ComplianceError, OSError, RuntimeError) as error:
            _log.error("alarms cannot be kept: %s", error)
