"""The hub's own end of the relay: `send` and `receive` as at a node, without a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from time import monotonic
from types import TracebackType
from typing import Self

from protocols.link import Envelope, Kind, TransportError, split_payload
from protocols.mailbox import Mailbox
from server.link.attachment import Attachment


class LocalEndpoint:
    """One party of a phase that runs inside the hub process; for one thread.

    Args:
        deadline_s: the longest that one `send` or one `receive` may wait.
    """

    def __init__(self, attachment: Attachment, run: str, label: str, deadline_s: float) -> None:
        self._attachment = attachment
        self._run = run
        self._label = label
        self._deadline_s = deadline_s
        self._mailbox = Mailbox(run, label)
        self._sent: Counter[str] = Counter()
        self._ended = False
        self.party = attachment.party

    @property
    def bytes_sent(self) -> Mapping[str, int]:
        """Payload bytes by recipient."""
        return dict(self._sent)

    @property
    def bytes_received(self) -> Mapping[str, int]:
        """Payload bytes by sender."""
        return dict(self._mailbox.received)

    def send(self, to: str, payload: bytes) -> None:
        """Queue one payload for a party.

        Raises:
            TransportError: the phase is over, or there is no space before the deadline.
        """
        self._check_here()
        for kind, piece in split_payload(payload):
            frame = Envelope(self._run, self._label, kind, to, piece).encode()
            self._attachment.accept(frame, self._deadline_s)
        self._sent[to] += len(payload)

    def receive(self, sender: str, timeout_s: float | None = None) -> bytes:
        """Return the next payload of a party.

        Args:
            timeout_s: in place of the endpoint's deadline.

        Raises:
            TransportError: the party broke off or left, the run was closed, or nothing
                came before the deadline.
        """
        self._check_here()
        allowed_s = self._deadline_s if timeout_s is None else timeout_s
        ends_at = monotonic() + allowed_s
        while (payload := self._mailbox.take(sender)) is None:
            left_s = ends_at - monotonic()
            if left_s <= 0:
                raise TransportError(
                    f"nothing from {sender} within {allowed_s:.3g} s in phase {self._label}",
                    retryable=True,
                    party=sender,
                )
            # Frames of other senders are taken out too: they may fill the relay's bound
            # and keep the awaited one out.
            self._drain(left_s)
        return payload

    def close(self) -> None:
        """Leave the phase; what was sent is still delivered."""
        if not self._ended:
            self._ended = True
            self._attachment.accept(Envelope(self._run, self._label, Kind.LEAVE).encode())

    def abort(self, reason: str) -> None:
        """Break the phase off for everyone."""
        if not self._ended:
            self._ended = True
            self._attachment.break_off(reason)

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
            self.abort(f"failed with {type(error).__name__}")

    def _check_here(self) -> None:
        if self._ended:
            raise TransportError(f"{self.party} has left phase {self._label}", retryable=False)

    def _drain(self, timeout_s: float) -> None:
        """Wait for one frame, then take all that are there."""
        frame = self._attachment.next_frame(timeout_s)
        while frame is not None:
            self._mailbox.accept(Envelope.decode(frame))
            frame = self._attachment.next_frame(0)
