"""One authenticated party in one phase: the rules for every frame that it sends.

One object is one stream. A party that lost its connection comes back with a stream of its own,
and what the former one still does has no effect.
"""

from __future__ import annotations

from protocols.errors import MalformedMessageError
from protocols.link import PAYLOAD_KINDS, Envelope, Kind, Resumption
from server.link.run import Run


class Attachment:
    """What one authenticated party may do in one phase of one run.

    Args:
        resumption: what it said of coming back; None for one that cannot.

    Raises:
        TransportError: it is not let in.
        MalformedMessageError: it says to have what was never sent.
    """

    def __init__(
        self, run: Run, label: str, party: str, resumption: Resumption | None = None
    ) -> None:
        self._run = run
        self._label = label
        self.party = party
        self.resumable = resumption is not None
        self._stream, self.received = run.attach(label, party, resumption)

    def welcome(self) -> bytes:
        """Return the first frame for the party: its own name and all parties of the run."""
        names = ",".join(sorted(self._run.parties)).encode()
        return Envelope(self._run.name, self._label, Kind.WELCOME, self.party, names).encode()

    def accept(self, frame: bytes, timeout_s: float | None = None) -> None:
        """Take one frame from the party and queue it for its recipient.

        Raises:
            MalformedMessageError: not a frame that this party may send here.
            TransportError: no space within `timeout_s`, or this stream is of no use any more.
        """
        envelope = Envelope.decode(frame)
        if (envelope.run, envelope.phase) != (self._run.name, self._label):
            raise MalformedMessageError("envelope: not of the run and phase of this stream")
        match envelope.kind:
            case Kind.LEAVE:
                self._run.leave(self._label, self.party, self._stream)
            case Kind.BREAK:
                self._run.hear(self._label, self.party, self._stream)
                self._run.break_off(self._label, self.party, "its part failed")
            case Kind.ACK:
                self._run.hear(self._label, self.party, self._stream, envelope.count)
            case kind if kind in PAYLOAD_KINDS:
                self._forward(envelope, timeout_s)
            case kind:
                raise MalformedMessageError(f"envelope: {kind.name} is not for a party to send")

    def next_frame(self, timeout_s: float | None = None) -> bytes | None:
        """Wait for the next frame; None at the end of the phase, or when the time is over.

        One that may come back gets an acknowledgement when the time is over.
        """
        return self._run.take(self._label, self.party, timeout_s, stream=self._stream)

    def break_off(self, reason: str) -> None:
        """End the phase for everyone, unless this party had left."""
        self._run.break_off(self._label, self.party, reason)

    def give_up(self, loss: int, reason: str) -> None:
        """End the phase for everyone, unless the party has come back since this loss."""
        self._run.break_off(self._label, self.party, reason, stream=loss)

    def lose(self) -> tuple[int, float] | None:
        """Note that the connection is lost; see `Run.lose`."""
        return self._run.lose(self._label, self.party, self._stream)

    def is_away(self, loss: int) -> bool:
        """Report whether the party has not come back since this loss."""
        return self._run.is_away(self._label, self.party, loss)

    def _forward(self, envelope: Envelope, timeout_s: float | None) -> None:
        recipient = envelope.party
        if recipient == self.party or recipient not in self._run.parties:
            raise MalformedMessageError("envelope: recipient is no other party of this run")
        forwarded = Envelope(
            self._run.name, self._label, envelope.kind, self.party, envelope.body
        ).encode()
        self._run.put(self._label, self.party, recipient, forwarded, timeout_s, stream=self._stream)
