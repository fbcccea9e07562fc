"""One open run: who takes part, what waits for whom, how much was relayed.

Ordering: frames from one sender to one recipient within a phase are handed out in the
order in which they came in. Durability: none; a phase whose stream breaks is started again.
Memory: at most `queue_bytes` wait in a run, or one frame if that is larger; a sender that
would exceed it waits, and through its stream so does the node (HTTP/2 flow control).
Concurrency: one lock per run, held for dictionary work only and never while bytes are copied.

A phase ends for its parties in one of three ways: each leaves on purpose (LEFT to the
others, queued frames stay), one breaks off (GONE to the others, queued frames are dropped:
the attempt is lost anyway, and so the others hear of it at once), or the run is closed.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass, field
from time import monotonic

from protocols.link import Envelope, Kind, TransportError


@dataclass(slots=True)
class Outlet:
    """The frames of one phase that wait for one party."""

    wakeup: threading.Condition
    frames: deque[bytes] = field(default_factory=deque)
    ended: bool = False


@dataclass(slots=True)
class Phase:
    """One attempt of a phase: an outlet per party of the run."""

    outlets: dict[str, Outlet]
    attached: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)
    broken_by: str | None = None


class Run:
    """The relay's state of one run; every public method may be called by any thread."""

    def __init__(
        self, name: str, parties: frozenset[str], queue_bytes: int, max_phases: int
    ) -> None:
        self.name = name
        self.parties = parties
        self._queue_bytes = queue_bytes
        self._max_phases = max_phases
        self._lock = threading.Lock()
        self._space = threading.Condition(self._lock)
        self._phases: dict[str, Phase] = {}
        self._closed: str | None = None
        self._queued = 0
        self._traffic: Counter[tuple[str, str, str]] = Counter()

    def attach(self, label: str, party: str) -> None:
        """Let a party into a phase.

        Raises:
            TransportError: run closed, phase broken or left, party attached already, or
                too many phases.
        """
        with self._lock:
            self._check_open()
            phase = self._phases.get(label) or self._add_phase(label)
            if phase.broken_by is not None:
                raise TransportError(
                    f"phase {label} was broken off by {phase.broken_by}; start a new attempt",
                    retryable=False,
                    party=phase.broken_by,
                )
            if party in phase.left:
                raise TransportError(f"{party} has left phase {label} for good", retryable=False)
            if party in phase.attached:
                # A node that was cut off comes back before the hub has noticed.
                raise TransportError(f"{party} is attached to phase {label}", retryable=True)
            phase.attached.add(party)

    def put(
        self, label: str, sender: str, recipient: str, frame: bytes, timeout_s: float | None = None
    ) -> None:
        """Queue one frame, waiting for space; dropped if the recipient has left.

        Raises:
            TransportError: the phase is over for the sender, or no space within `timeout_s`.
        """
        ends_at = None if timeout_s is None else monotonic() + timeout_s
        with self._lock:
            phase = self._phases[label]
            outlet = phase.outlets[recipient]
            while not self._fits(frame) and not outlet.ended:
                self._check_present(label, phase, sender)
                left_s = None if ends_at is None else ends_at - monotonic()
                if left_s is not None and left_s <= 0:
                    raise TransportError(
                        f"no space for {recipient} within {timeout_s} s: the relay holds "
                        f"{self._queued} bytes of run {self.name} that nobody takes",
                        retryable=True,
                        party=recipient,
                    )
                self._space.wait(left_s)
            self._check_present(label, phase, sender)
            if outlet.ended:
                return
            self._queued += len(frame)
            self._traffic[sender, label, "sent"] += len(frame)
            outlet.frames.append(frame)
            outlet.wakeup.notify()

    def take(self, label: str, party: str, timeout_s: float | None = None) -> bytes | None:
        """Return the next frame for a party; None at the end of its phase or of the time."""
        with self._lock:
            outlet = self._phases[label].outlets[party]
            if not outlet.wakeup.wait_for(lambda: outlet.frames or outlet.ended, timeout_s):
                return None
            if not outlet.frames:
                return None
            frame = outlet.frames.popleft()
            self._queued -= len(frame)
            self._traffic[party, label, "received"] += len(frame)
            self._space.notify_all()
            return frame

    def leave(self, label: str, party: str) -> None:
        """Note that a party is done with a phase; what it sent is still delivered."""
        with self._lock:
            phase = self._phases[label]
            if phase.outlets[party].ended:
                return
            phase.left.add(party)
            self._drain(phase.outlets[party])
            self._end(phase.outlets[party])
            self._notify(phase, Envelope(self.name, label, Kind.LEFT, party))

    def break_off(self, label: str, party: str, reason: str, *, drops: bool = True) -> None:
        """Tell the others that a party is gone; nothing happens if its part had ended.

        Also for a phase that nobody has reached yet: whoever comes later is turned away.

        Args:
            drops: whether the others hear of it before what is queued for them, or after.
        """
        with self._lock:
            phase = self._phases.get(label) or self._add_phase(label)
            if phase.outlets[party].ended:
                return
            phase.broken_by = party
            notice = Envelope(self.name, label, Kind.GONE, party, reason.encode())
            self._finish(phase, notice, but=party, drops=drops)

    def close(self, reason: str) -> None:
        """End every phase with a reason; a second close changes nothing."""
        with self._lock:
            if self._closed is not None:
                return
            self._closed = reason
            for label, phase in self._phases.items():
                notice = Envelope(self.name, label, Kind.CLOSED, body=reason.encode())
                self._finish(phase, notice)

    def narrow(self, parties: frozenset[str]) -> None:
        """Go on with some of the parties; the others' part in every phase is over."""
        with self._lock:
            self.parties = parties
            for label, phase in self._phases.items():
                notice = Envelope(self.name, label, Kind.CLOSED, body=b"it goes on without you")
                for party, outlet in phase.outlets.items():
                    if party not in parties and not outlet.ended:
                        self._drain(outlet)
                        self._append(outlet, notice)
                        self._end(outlet)

    def status(self) -> dict[str, object]:
        """Describe the run for an operator; names, sizes and states only."""
        with self._lock:
            phases = {
                label: {
                    "attached": sorted(phase.attached),
                    "left": sorted(phase.left),
                    "broken_by": phase.broken_by,
                }
                for label, phase in self._phases.items()
            }
            return {
                "run": self.name,
                "parties": sorted(self.parties),
                "closed": self._closed,
                "queued_bytes": self._queued,
                "phases": phases,
            }

    def traffic(self) -> dict[tuple[str, str, str], int]:
        """Return bytes of whole frames by (party, phase, "sent" or "received")."""
        with self._lock:
            return dict(self._traffic)

    def _check_open(self) -> None:
        if self._closed is not None:
            raise TransportError(f"run {self.name} is closed: {self._closed}", retryable=False)

    def _check_present(self, label: str, phase: Phase, party: str) -> None:
        self._check_open()
        if phase.broken_by is not None:
            raise TransportError(
                f"{phase.broken_by} broke off phase {label}", retryable=True, party=phase.broken_by
            )
        if party in phase.left:
            raise TransportError(f"{party} has left phase {label}", retryable=False)

    def _fits(self, frame: bytes) -> bool:
        return not self._queued or self._queued + len(frame) <= self._queue_bytes

    def _add_phase(self, label: str) -> Phase:
        if len(self._phases) >= self._max_phases:
            raise TransportError(
                f"run {self.name} has {self._max_phases} phases, no more are allowed",
                retryable=False,
            )
        outlets = {party: Outlet(threading.Condition(self._lock)) for party in self.parties}
        self._phases[label] = Phase(outlets)
        return self._phases[label]

    def _finish(
        self, phase: Phase, notice: Envelope, but: str | None = None, *, drops: bool = True
    ) -> None:
        for party, outlet in phase.outlets.items():
            if outlet.ended:
                continue
            if drops or party == but:
                self._drain(outlet)
            if party != but:
                self._append(outlet, notice)
            self._end(outlet)

    def _notify(self, phase: Phase, notice: Envelope) -> None:
        for outlet in phase.outlets.values():
            if not outlet.ended:
                self._append(outlet, notice)
                outlet.wakeup.notify_all()

    def _append(self, outlet: Outlet, notice: Envelope) -> None:
        # Notices are exempt from the bound: they are few, small, and must not wait for
        # the space that a lost party keeps occupied.
        frame = notice.encode()
        outlet.frames.append(frame)
        self._queued += len(frame)

    def _drain(self, outlet: Outlet) -> None:
        self._queued -= sum(map(len, outlet.frames))
        outlet.frames.clear()

    def _end(self, outlet: Outlet) -> None:
        outlet.ended = True
        outlet.wakeup.notify_all()
        self._space.notify_all()
