"""One open run: who takes part, what waits for whom, how much was relayed.

Ordering: frames from one sender to one recipient within a phase are handed out in the
order in which they came in. Durability: none; a phase whose stream breaks is started again.
Memory: at most `queue_bytes` wait in a run, or one frame if that is larger; a sender that
would exceed it waits, and through its stream so does the node (HTTP/2 flow control). From a
party that may come back one window more is taken, and not acknowledged, so that its own
acknowledgements never stand behind frames for which there is no space.
Concurrency: one lock per run, held for dictionary work only and never while bytes are copied.

A phase ends for its parties in one of three ways: each leaves on purpose (LEFT to the
others, queued frames stay), one breaks off (GONE to the others, queued frames are dropped:
the attempt is lost anyway, and so the others hear of it at once), or the run is closed.

A node whose connection is lost may come back over a new stream: what it had not acknowledged
waits for it again, at most `WINDOW_BYTES` beside the bound of the run. Whatever a former
stream still brings or wants is refused, so that no frame is taken twice.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from time import monotonic

from protocols.errors import MalformedMessageError
from protocols.link import (
    ACKNOWLEDGE_EVERY,
    WINDOW_BYTES,
    Envelope,
    Kind,
    Resumption,
    TransportError,
    acknowledgement,
)
from protocols.replay import Replay


@dataclass(slots=True)
class Outlet:
    """The frames of one phase that wait for one party, and the stream that takes them.

    Args:
        session: of the node's end; None for one that cannot come back.
        stream: number of the stream that serves the party; none has it while it is away.
        received: numbered frames that came from the party.
        acknowledged: of these, told to it as arrived; `unacknowledged_bytes` are in the rest.
        heard_at: when anything last came from it, on the monotonic clock.
        lost: whether it is away and may come back.
    """

    wakeup: threading.Condition
    frames: Replay = field(default_factory=Replay)
    ended: bool = False
    session: bytes | None = None
    stream: int = 0
    received: int = 0
    acknowledged: int = 0
    unacknowledged_bytes: int = 0
    heard_at: float = 0.0
    lost: bool = False


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

    def attach(
        self, label: str, party: str, resumption: Resumption | None = None
    ) -> tuple[int, int]:
        """Let a party into a phase, or back into it; returns its stream, and what came from it.

        Raises:
            TransportError: run closed, phase broken or left, party attached already, or
                too many phases.
            MalformedMessageError: it says to have what was never sent.
        """
        with self._lock:
            known = self._phases.get(label)
            if known is not None and resumption is not None:
                outlet = known.outlets.get(party)
                if outlet is not None and outlet.session == resumption.session:
                    return self._come_back(label, known, party, resumption)
            self._check_open()
            phase = known or self._add_phase(label)
            self._check_unbroken(label, phase)
            if party in phase.left:
                raise TransportError(f"{party} has left phase {label} for good", retryable=False)
            if party in phase.attached:
                # A node that was cut off comes back before the hub has noticed, as a new one.
                raise TransportError(f"{party} is attached to phase {label}", retryable=True)
            phase.attached.add(party)
            outlet = phase.outlets[party]
            outlet.session = None if resumption is None else resumption.session
            outlet.stream += 1
            outlet.heard_at = monotonic()
            return outlet.stream, 0

    def _come_back(
        self, label: str, phase: Phase, party: str, resumption: Resumption
    ) -> tuple[int, int]:
        outlet = phase.outlets[party]
        if party not in phase.left:
            self._check_open()
            self._check_unbroken(label, phase)
        again = outlet.frames.rewind(resumption.received)
        self._queued += again
        self._traffic[party, label, "received"] -= again
        outlet.stream += 1
        outlet.lost = False
        outlet.heard_at = monotonic()
        # Wakes what still serves the former stream, which then ends.
        outlet.wakeup.notify_all()
        self._space.notify_all()
        # This tells it that all has arrived, without counting as room for more.
        outlet.acknowledged = outlet.received
        return outlet.stream, outlet.received

    def lose(self, label: str, party: str, stream: int) -> tuple[int, float] | None:
        """Note that a party's connection is lost; None if that means nothing any more.

        Returns:
            A number by which `expire` knows this loss, and for how many seconds nothing had
            been heard.
        """
        with self._lock:
            outlet = self._phases[label].outlets[party]
            if outlet.stream != stream or outlet.ended:
                return None
            outlet.stream += 1
            outlet.lost = True
            outlet.wakeup.notify_all()
            self._space.notify_all()
            return outlet.stream, monotonic() - outlet.heard_at

    def is_away(self, label: str, party: str, loss: int) -> bool:
        """Report whether a party has not come back since this loss, though its part goes on."""
        with self._lock:
            outlet = self._phases[label].outlets[party]
            return outlet.lost and outlet.stream == loss and not outlet.ended

    def hear(self, label: str, party: str, stream: int, acknowledged: int | None = None) -> None:
        """Note a sign of life of a party, with which it may acknowledge frames.

        Raises:
            MalformedMessageError: it acknowledges what was never sent.
            TransportError: another stream has taken the place of this one.
        """
        with self._lock:
            outlet = self._phases[label].outlets[party]
            self._check_current(outlet, stream)
            outlet.heard_at = monotonic()
            if acknowledged is not None:
                if outlet.session is None:
                    raise MalformedMessageError("envelope: ACK on a stream that cannot come back")
                outlet.frames.acknowledge(acknowledged)
                outlet.wakeup.notify_all()

    def put(
        self,
        label: str,
        sender: str,
        recipient: str,
        frame: bytes,
        timeout_s: float | None = None,
        *,
        stream: int,
    ) -> None:
        """Queue one frame, waiting for space; dropped if the recipient has left.

        Args:
            stream: the one of the sender on which it came.

        Raises:
            TransportError: the phase is over for the sender, another stream has taken the
                place of this one, or no space within `timeout_s`.
        """
        ends_at = None if timeout_s is None else monotonic() + timeout_s
        with self._lock:
            phase = self._phases[label]
            outlet = phase.outlets[recipient]
            source = phase.outlets[sender]
            while not (outlet.ended or self._fits(frame) or _has_credit(source)):
                self._check_present(label, phase, sender, stream)
                left_s = None if ends_at is None else ends_at - monotonic()
                if left_s is not None and left_s <= 0:
                    raise TransportError(
                        f"no space for {recipient} within {timeout_s} s: the relay holds "
                        f"{self._queued} bytes of run {self.name} that nobody takes",
                        retryable=True,
                        party=recipient,
                    )
                self._space.wait(left_s)
            self._check_present(label, phase, sender, stream)
            self._count(source, len(frame))
            if outlet.ended:
                return
            self._queued += len(frame)
            self._traffic[sender, label, "sent"] += len(frame)
            outlet.frames.put(frame)
            outlet.wakeup.notify_all()

    def take(
        self, label: str, party: str, timeout_s: float | None = None, *, stream: int
    ) -> bytes | None:
        """Return the next frame for a party; None at the end of its phase or of the time.

        To a party that may come back it returns an acknowledgement whenever enough has come
        from it, and at the end of the time.
        """
        with self._lock:
            outlet = self._phases[label].outlets[party]

            def is_ready() -> bool:
                return (
                    outlet.stream != stream
                    or outlet.ended
                    or self._owes_acknowledgement(outlet)
                    or (len(outlet.frames) > 0 and outlet.frames.held_bytes < WINDOW_BYTES)
                )

            in_time = outlet.wakeup.wait_for(is_ready, timeout_s)
            if outlet.stream != stream:
                return None
            resumable = outlet.session is not None
            if resumable and (not in_time or self._owes_acknowledgement(outlet)):
                if self._has_room():
                    outlet.acknowledged, outlet.unacknowledged_bytes = outlet.received, 0
                return acknowledgement(self.name, label, outlet.acknowledged).encode()
            if not len(outlet.frames):
                return None
            frame = outlet.frames.take(keep=resumable)
            self._queued -= len(frame)
            self._traffic[party, label, "received"] += len(frame)
            self._made_room(label)
            return frame

    def leave(self, label: str, party: str, stream: int) -> None:
        """Note that a party is done with a phase; what it sent is still delivered."""
        with self._lock:
            phase = self._phases[label]
            outlet = phase.outlets[party]
            if outlet.ended:
                return
            self._check_current(outlet, stream)
            self._count(outlet, 0)
            phase.left.add(party)
            self._drain(outlet)
            self._end(outlet)
            self._notify(phase, Envelope(self.name, label, Kind.LEFT, party))

    def break_off(
        self,
        label: str,
        party: str,
        reason: str,
        *,
        drops: bool = True,
        stream: int | None = None,
    ) -> None:
        """Tell the others that a party is gone; nothing happens if its part had ended.

        Also for a phase that nobody has reached yet: whoever comes later is turned away.

        Args:
            drops: whether the others hear of it before what is queued for them, or after.
            stream: only if this is the party's stream, or its loss, still.
        """
        with self._lock:
            phase = self._phases.get(label) or self._add_phase(label)
            outlet = phase.outlets[party]
            if outlet.ended or stream not in (None, outlet.stream):
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
                    "away": sorted(name for name, o in phase.outlets.items() if o.lost),
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

    def _check_unbroken(self, label: str, phase: Phase) -> None:
        if phase.broken_by is not None:
            raise TransportError(
                f"phase {label} was broken off by {phase.broken_by}; start a new attempt",
                retryable=False,
                party=phase.broken_by,
            )

    def _check_current(self, outlet: Outlet, stream: int) -> None:
        if outlet.stream != stream:
            raise TransportError("the connection was lost, or replaced by another", retryable=True)

    def _check_present(self, label: str, phase: Phase, party: str, stream: int) -> None:
        self._check_open()
        if phase.broken_by is not None:
            raise TransportError(
                f"{phase.broken_by} broke off phase {label}", retryable=True, party=phase.broken_by
            )
        if party in phase.left:
            raise TransportError(f"{party} has left phase {label}", retryable=False)
        self._check_current(phase.outlets[party], stream)

    def _count(self, outlet: Outlet, size: int) -> None:
        outlet.received += 1
        outlet.heard_at = monotonic()
        if outlet.session is not None:
            outlet.unacknowledged_bytes += size
            if self._owes_acknowledgement(outlet):
                outlet.wakeup.notify_all()

    def _owes_acknowledgement(self, outlet: Outlet) -> bool:
        return outlet.unacknowledged_bytes >= ACKNOWLEDGE_EVERY and self._has_room()

    def _has_room(self) -> bool:
        return self._queued < self._queue_bytes

    def _made_room(self, label: str) -> None:
        self._space.notify_all()
        for outlet in self._phases[label].outlets.values():
            if self._owes_acknowledgement(outlet):
                outlet.wakeup.notify_all()

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
        outlet.frames.put(frame)
        self._queued += len(frame)

    def _drain(self, outlet: Outlet) -> None:
        self._queued -= outlet.frames.waiting_bytes
        outlet.frames.drop_waiting()

    def _end(self, outlet: Outlet) -> None:
        outlet.ended = True
        outlet.lost = False
        outlet.wakeup.notify_all()
        self._space.notify_all()


def _has_credit(source: Outlet) -> bool:
    """Whether one window more may come from a party whose acknowledgement is withheld."""
    return source.session is not None and source.unacknowledged_bytes < WINDOW_BYTES
