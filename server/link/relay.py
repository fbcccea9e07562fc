"""The relay: which runs are open, and who may send what to whom.

It takes the name of a sender from its caller, who takes it from a certificate; nothing
that a node writes can change it. A node sees the same answer for a run that does not
exist and for one that it has no part in, so the relay is no oracle for who takes part.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from protocols.errors import MalformedMessageError
from protocols.link import Resumption, TransportError, check_label, check_party, phase_label
from server.link.attachment import Attachment
from server.link.endpoint import LocalEndpoint
from server.link.run import Run

DEFAULT_QUEUE_BYTES = 256 << 20
DEFAULT_MAX_PHASES = 256
# Closed runs are remembered for their reason and their counters; the oldest go first.
KEPT_CLOSED_RUNS = 1024


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes of whole frames that one party sent or received in one phase."""

    run: str
    party: str
    phase: str
    direction: str
    size_bytes: int


class Relay:
    """All runs of the hub.

    Args:
        queue_bytes: what may wait in memory per run.
        max_phases: how many phases, attempts counted, a run may have.
    """

    def __init__(
        self, *, queue_bytes: int = DEFAULT_QUEUE_BYTES, max_phases: int = DEFAULT_MAX_PHASES
    ) -> None:
        self._queue_bytes = queue_bytes
        self._max_phases = max_phases
        self._lock = threading.Lock()
        self._open: dict[str, Run] = {}
        self._closed: OrderedDict[str, Run] = OrderedDict()
        self._stopped: str | None = None

    def open_run(self, run: str, parties: Iterable[str]) -> None:
        """Let the named parties attach to a run; opening it again alike changes nothing.

        Raises:
            MalformedMessageError: a name is not well formed, or fewer than two parties.
            TransportError: the run was closed, is open for others, or the relay stops.
        """
        check_label(run, "run")
        members = frozenset(parties)
        for party in members:
            check_party(party)
        if len(members) < 2:  # noqa: PLR2004 - nobody to relay to
            raise MalformedMessageError(f"run {run}: {len(members)} parties, need at least 2")
        with self._lock:
            if self._stopped is not None:
                raise TransportError(f"the relay stops: {self._stopped}", retryable=True)
            if run in self._closed:
                raise TransportError(f"run {run} was closed and stays so", retryable=False)
            known = self._open.setdefault(
                run, Run(run, members, self._queue_bytes, self._max_phases)
            )
            if known.parties != members:
                raise TransportError(f"run {run} is open for other parties", retryable=False)

    def narrow_run(self, run: str, parties: Iterable[str]) -> None:
        """Go on with some of a run's parties; the others are told and let in no more.

        Raises:
            MalformedMessageError: fewer than two parties, or one that was not in the run.
            TransportError: the run is not open.
        """
        members, found = frozenset(parties), self._opened(run)
        if not members <= found.parties or len(members) < 2:  # noqa: PLR2004 - nobody to relay to
            raise MalformedMessageError(
                f"run {run}: can go on with two or more of its parties only"
            )
        found.narrow(members)

    def break_phase(self, run: str, phase: str, attempt: int, party: str, reason: str) -> None:
        """End a phase for all because a party is known to have failed in it.

        A party that fails before it has reached the phase leaves no stream that could end;
        the others would wait for it until their deadline.

        Raises:
            MalformedMessageError: the party is not in the run.
            TransportError: the run is not open.
        """
        found = self._opened(run)
        if party not in found.parties:
            raise MalformedMessageError(f"run {run}: the party is not in it")
        # What is queued may be the very words that say why, such as a refused alignment.
        found.break_off(phase_label(phase, attempt), party, reason, drops=False)

    def close_run(self, run: str, reason: str) -> None:
        """End a run for all of its parties and tell them why; closing twice is allowed."""
        with self._lock:
            found = self._open.pop(run, None)
            if found is None:
                return
            self._closed[run] = found
            while len(self._closed) > KEPT_CLOSED_RUNS:
                self._closed.popitem(last=False)
        found.close(reason)

    def close(self, reason: str = "the hub stops") -> None:
        """Close every run and open none any more."""
        with self._lock:
            self._stopped = reason
            names = list(self._open)
        for name in names:
            self.close_run(name, reason)

    def attach(
        self, run: str, label: str, party: str, resumption: Resumption | None = None
    ) -> Attachment:
        """Let an authenticated party into a phase, or back into it.

        Args:
            resumption: what the party said of coming back; None for one that cannot.

        Raises:
            TransportError: refused; `retryable` says whether it may be let in later.
            MalformedMessageError: it says to have what was never sent.
        """
        check_label(label, "phase")
        with self._lock:
            found = self._open.get(run) or self._closed.get(run)
        if found is None or party not in found.parties:
            raise TransportError(f"run {run} is not open to {party}", retryable=False)
        return Attachment(found, label, party, resumption)

    def local(
        self,
        run: str,
        phase: str,
        *,
        deadline_s: float,
        party: str = "hub",
        attempt: int = 1,
    ) -> LocalEndpoint:
        """Attach a program of the hub itself; it is a party like any other."""
        label = phase_label(phase, attempt)
        attachment = self.attach(run, label, party)
        return LocalEndpoint(attachment, run, label, deadline_s)

    def status(self, run: str) -> dict[str, object] | None:
        """Describe a run that is open or was closed lately."""
        found = self._find(run)
        return None if found is None else found.status()

    def traffic(self, run: str) -> tuple[Traffic, ...]:
        """Return what was relayed in a run, by party, phase and direction."""
        found = self._find(run)
        if found is None:
            return ()
        counts = sorted(found.traffic().items())
        return tuple(Traffic(run, *key, size) for key, size in counts)

    def _opened(self, run: str) -> Run:
        with self._lock:
            found = self._open.get(run)
        if found is None:
            raise TransportError(f"run {run} is not open", retryable=False)
        return found

    def _find(self, run: str) -> Run | None:
        with self._lock:
            return self._open.get(run) or self._closed.get(run)
