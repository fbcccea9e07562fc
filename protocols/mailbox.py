"""What has arrived over one link, in order per sender, as a state machine over envelopes.

The client's link and the relay's in-process endpoint both keep one, each under its own
lock. The mailbox never waits: `take` answers with a payload, with None as long as one
may still come, and raises once none can come any more.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque

from protocols.errors import MalformedMessageError
from protocols.link import MAX_PAYLOAD_SIZE, Envelope, Kind, TransportError


class Mailbox:
    """Collects the pieces of payloads and the notices of one (run, phase)."""

    def __init__(self, run: str, phase: str, max_payload_size: int = MAX_PAYLOAD_SIZE) -> None:
        self._run = run
        self._phase = phase
        self._max_payload_size = max_payload_size
        self._whole: dict[str, deque[bytes]] = defaultdict(deque)
        self._pieces: dict[str, list[bytes]] = defaultdict(list)
        self._piece_bytes: Counter[str] = Counter()
        self._left: set[str] = set()
        self._failure: tuple[str, bool, str | None] | None = None
        self.buffered_bytes = 0
        self.received: Counter[str] = Counter()

    def accept(self, envelope: Envelope) -> None:
        """File one envelope of the relay.

        Raises:
            MalformedMessageError: it is for another channel, or not for a node to read,
                or a payload grows over the limit; the link is of no further use.
        """
        if (envelope.run, envelope.phase) != (self._run, self._phase):
            raise MalformedMessageError("envelope: belongs to another run or phase")
        match envelope.kind:
            case Kind.DATA | Kind.PART:
                self._accept_piece(envelope)
            case Kind.LEFT:
                self._left.add(envelope.party)
            case Kind.GONE:
                reason = f"{envelope.party} broke off phase {self._phase}: {envelope.text}"
                self.fail(reason, retryable=True, party=envelope.party)
            case Kind.CLOSED:
                self.fail(f"the hub closed run {self._run}: {envelope.text}", retryable=False)
            case Kind.HELLO | Kind.WELCOME | Kind.LEAVE:
                raise MalformedMessageError(f"envelope: {envelope.kind.name} is out of place here")

    def take(self, sender: str) -> bytes | None:
        """Return the next payload of `sender`, or None while one may still come.

        Raises:
            TransportError: none will come; it names the party that broke off.
        """
        waiting = self._whole[sender]
        if waiting:
            payload = waiting.popleft()
            self.buffered_bytes -= len(payload)
            return payload
        self.check()
        if sender in self._left:
            raise TransportError(
                f"{sender} left phase {self._phase} and sent no further payload",
                retryable=False,
                party=sender,
            )
        return None

    def fail(self, reason: str, *, retryable: bool, party: str | None = None) -> None:
        """Note why nothing more can come; the first reason stands."""
        if self._failure is None:
            self._failure = (reason, retryable, party)

    @property
    def failed(self) -> bool:
        """Whether nothing more can come."""
        return self._failure is not None

    def check(self) -> None:
        """Raise the failure that was noted, if any."""
        if self._failure is not None:
            reason, retryable, party = self._failure
            raise TransportError(reason, retryable=retryable, party=party)

    def _accept_piece(self, envelope: Envelope) -> None:
        sender = envelope.party
        size = self._piece_bytes[sender] + len(envelope.body)
        if size > self._max_payload_size:
            raise MalformedMessageError(
                f"payload: over {self._max_payload_size} bytes from {sender}"
            )
        self.buffered_bytes += len(envelope.body)
        self.received[sender] += len(envelope.body)
        if envelope.kind is Kind.PART:
            self._pieces[sender].append(bytes(envelope.body))
            self._piece_bytes[sender] = size
            return
        pieces = self._pieces.pop(sender, [])
        del self._piece_bytes[sender]
        self._whole[sender].append(b"".join((*pieces, envelope.body)))
