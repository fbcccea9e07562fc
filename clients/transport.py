"""The node's end of the link: one outbound stream to the hub's relay, for one phase.

    with Link("hub.example:8443", credentials, "run-7", "train", deadline_s=120) as link:
        link.send("telecom", frame)
        answer = link.receive("telecom")

For one plain thread, which never waits longer than `deadline_s` at one call. Two threads
behind it move frames; the reader goes on while the program computes, so that two parties
that send large payloads to each other do not block each other. A connection that is lost is
dialled again, and nothing is lost or doubled with it: see `clients.streaming`.

Leaving the block normally tells the others that this party is done; leaving it by an
exception breaks the phase off for all, at once. Payloads are sealed by the caller:
the hub sees every byte that is handed over here.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from time import monotonic
from types import TracebackType
from typing import Self

from clients.dialling import Credentials, explain_status, open_channel
from clients.streaming import Ending, Stream
from protocols.link import (
    SILENT_GRACE_S,
    Envelope,
    Kind,
    TransportError,
    phase_label,
    split_payload,
)
from protocols.mailbox import Mailbox

__all__ = ["Credentials", "Link", "TransportError", "explain_status", "open_channel"]

# How much may have arrived before the reader pauses. It never pauses while the program waits
# for a payload: the awaited one may stand behind those of others.
INCOMING_BYTES = 1 << 30


class Link:
    """A standing connection to the other parties of one phase of one run.

    Args:
        address: `host:port` of the hub.
        phase: name of the phase; together with `attempt` it is one channel.
        deadline_s: the longest that any one call may wait.
        grace_s: the longest that the hub may be away before the phase is lost.

    Raises:
        TransportError: the hub is not reachable or lets the node not in.
    """

    def __init__(
        self,
        address: str,
        credentials: Credentials,
        run: str,
        phase: str,
        deadline_s: float,
        *,
        attempt: int = 1,
        grace_s: float = SILENT_GRACE_S,
    ) -> None:
        self._address = address
        self._run = run
        self._label = phase_label(phase, attempt)
        self._deadline_s = deadline_s
        self._mailbox = Mailbox(run, self._label)
        self._sent: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._awaiting = False
        self._closing = False
        self._ended = False
        self._left = False
        self.party = ""
        self.parties: frozenset[str] = frozenset()
        self._stream = Stream(
            address, credentials, run, self._label,
            file=self._file, on_end=self._end, grace_s=min(grace_s, deadline_s),
        )  # fmt: skip
        self._stream.start()
        self._await_welcome()

    @property
    def bytes_sent(self) -> Mapping[str, int]:
        """Payload bytes by recipient."""
        with self._lock:
            return dict(self._sent)

    @property
    def bytes_received(self) -> Mapping[str, int]:
        """Payload bytes by sender."""
        with self._lock:
            return dict(self._mailbox.received)

    def send(self, to: str, payload: bytes) -> None:
        """Hand one payload to the network; it is on its way, not yet delivered.

        Raises:
            TransportError: no such party, the phase is over, or the hub took nothing
                before the deadline.
        """
        if to == self.party or to not in self.parties:
            raise TransportError(f"{to} is no other party of run {self._run}", retryable=False)
        ends_at = monotonic() + self._deadline_s
        for kind, piece in split_payload(payload):
            frame = Envelope(self._run, self._label, kind, to, piece).encode()
            with self._lock:
                self._check_usable()
            if not self._stream.put(frame, max(0.0, ends_at - monotonic())):
                raise self._overdue(f"the hub took no frame for {to}", to)
        with self._lock:
            self._check_usable()
            self._sent[to] += len(payload)

    def receive(self, sender: str) -> bytes:
        """Return the next payload of a party, in the order in which it sent them.

        Raises:
            TransportError: the party broke off or left, the hub is gone or closed the
                run, or nothing came before the deadline.
        """
        if sender == self.party or sender not in self.parties:
            raise TransportError(f"{sender} is no other party of run {self._run}", retryable=False)
        ends_at = monotonic() + self._deadline_s
        with self._lock:
            self._awaiting = True
            self._room.notify_all()
            try:
                while (payload := self._mailbox.take(sender)) is None:
                    if not self._arrived.wait(ends_at - monotonic()) and monotonic() >= ends_at:
                        raise self._overdue(f"nothing from {sender}", sender)
            finally:
                self._awaiting = False
            self._room.notify_all()
            return payload

    def close(self) -> None:
        """Leave the phase when all that was sent has reached the hub; once is enough.

        Raises:
            TransportError: it did not reach the hub before the deadline.
        """
        with self._lock:
            if self._closing:
                return
            self._closing = True
            # A reader that pauses on a full mailbox would never see the end of the stream.
            self._room.notify_all()
        self._stream.leave()
        with self._lock:
            ended = self._arrived.wait_for(lambda: self._ended, self._deadline_s)
        self._stream.shut(self._deadline_s)
        if not ended:
            raise self._overdue("not all that was sent reached the hub", None)
        if not self._left:
            self._mailbox.check()

    def abort(self) -> None:
        """Break the phase off for all parties; never waits for them and never fails.

        A hub that is away hears of it when the grace is over.
        """
        with self._lock:
            self._closing = True
            self._mailbox.fail("this party broke the phase off", retryable=False)
            self._room.notify_all()
        self._stream.break_off()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()

    def _await_welcome(self) -> None:
        try:
            with self._lock:
                self._arrived.wait_for(lambda: self.party or self._ended, self._deadline_s)
                if not self.party:
                    self._mailbox.fail(f"no answer from the hub at {self._address}", retryable=True)
                    self._mailbox.check()
        except TransportError:
            self.abort()
            raise

    def _check_usable(self) -> None:
        if self._closing:
            raise TransportError("the link is closed", retryable=False)
        self._mailbox.check()

    def _overdue(self, what: str, party: str | None) -> TransportError:
        return TransportError(
            f"{what} within {self._deadline_s} s in phase {self._label} of run {self._run}",
            retryable=True,
            party=party,
        )

    def _file(self, envelope: Envelope) -> None:
        """Take in one envelope; runs in the stream's thread, which may pause here."""
        with self._lock:
            if envelope.kind is Kind.WELCOME and not self.party:
                self.parties = frozenset(envelope.text.split(","))
                self.party = envelope.party
            else:
                self._mailbox.accept(envelope)
            self._arrived.notify_all()
            self._room.wait_for(
                lambda: (
                    self._mailbox.buffered_bytes < INCOMING_BYTES or self._awaiting or self._closing
                )
            )

    def _end(self, ending: Ending) -> None:
        with self._lock:
            self._ended = True
            self._left = not ending.reason and not self._mailbox.failed
            reason = ending.reason or "the hub ended the stream"
            self._mailbox.fail(reason, retryable=ending.retryable, party=ending.party)
            for condition in (self._arrived, self._room):
                condition.notify_all()
