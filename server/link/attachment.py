"""One authenticated party in one phase: the rules for every frame that it sends."""

from __future__ import annotations

from protocols.errors import MalformedMessageError
from protocols.link import PAYLOAD_KINDS, Envelope, Kind
from server.link.run import Run


class Attachment:
    """What one authenticated party may do in one phase of one run."""

    def __init__(self, run: Run, label: str, party: str) -> None:
        self._run = run
        self._label = label
        self.party = party

    def welcome(self) -> bytes:
        """Return the first frame for the party: its own name and all parties of the run."""
        names = ",".join(sorted(self._run.parties)).encode()
        return Envelope(self._run.name, self._label, Kind.WELCOME, self.party, names).encode()

    def accept(self, frame: bytes, timeout_s: float | None = None) -> None:
        """Take one frame from the party and queue it for its recipient.

        Raises:
            MalformedMessageError: not a frame that this party may send here.
            TransportError: no space within `timeout_s`.
        """
        envelope = Envelope.decode(frame)
        if (envelope.run, envelope.phase) != (self._run.name, self._label):
            raise MalformedMessageError("envelope: not of the run and phase of this stream")
        if envelope.kind is Kind.LEAVE:
            self._run.leave(self._label, self.party)
            return
        if envelope.kind not in PAYLOAD_KINDS:
            raise MalformedMessageError(
                f"envelope: {envelope.kind.name} is not for a party to send"
            )
        recipient = envelope.party
        if recipient == self.party or recipient not in self._run.parties:
            raise MalformedMessageError("envelope: recipient is no other party of this run")
        forwarded = Envelope(
            self._run.name, self._label, envelope.kind, self.party, envelope.body
        ).encode()
        self._run.put(self._label, self.party, recipient, forwarded, timeout_s)

    def next_frame(self, timeout_s: float | None = None) -> bytes | None:
        """Wait for the next frame; None at the end of the phase, or when the time is over."""
        return self._run.take(self._label, self.party, timeout_s)

    def break_off(self, reason: str) -> None:
        """End the phase for everyone, unless this party had left."""
        self._run.break_off(self._label, self.party, reason)
