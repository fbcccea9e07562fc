"""Frames of one direction of a stream, kept until the other end says that it has them.

Frames are numbered from 0 in the order in which they are handed out. After a lost connection
the other end says how many it has; those are forgotten, and the others handed out again under
the same numbers. A frame that was never handed out has no number yet and may be dropped.
"""

from __future__ import annotations

from collections import deque

from protocols.errors import MalformedMessageError


class Replay:
    """One direction of one stream; for one thread at a time."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._held: deque[bytes] = deque()
        self._acknowledged = 0
        self.waiting_bytes = 0
        self.held_bytes = 0

    def __len__(self) -> int:
        """How many frames wait to be handed out."""
        return len(self._waiting)

    @property
    def empty(self) -> bool:
        """Whether nothing waits and nothing is unacknowledged."""
        return not self._waiting and not self._held

    def put(self, frame: bytes) -> None:
        """Let one more frame wait."""
        self._waiting.append(frame)
        self.waiting_bytes += len(frame)

    def take(self, *, keep: bool) -> bytes:
        """Hand the next frame out; there must be one.

        Args:
            keep: until it is acknowledged; otherwise it counts as arrived.
        """
        frame = self._waiting.popleft()
        self.waiting_bytes -= len(frame)
        if keep:
            self._held.append(frame)
            self.held_bytes += len(frame)
        else:
            self._acknowledged += 1
        return frame

    def acknowledge(self, count: int) -> None:
        """Forget the first `count` frames of all that were ever handed out.

        Raises:
            MalformedMessageError: fewer than were acknowledged before, or more than there were.
        """
        handed_out = self._acknowledged + len(self._held)
        if not self._acknowledged <= count <= handed_out:
            raise MalformedMessageError(
                f"acknowledgement: of {count} frames, expected {self._acknowledged} to {handed_out}"
            )
        while self._acknowledged < count:
            self.held_bytes -= len(self._held.popleft())
            self._acknowledged += 1

    def rewind(self, count: int) -> int:
        """Begin again behind the first `count` frames; returns the bytes that wait once more.

        Raises:
            MalformedMessageError: see `acknowledge`.
        """
        self.acknowledge(count)
        again = self.held_bytes
        self._waiting.extendleft(reversed(self._held))
        self._held.clear()
        self.waiting_bytes += again
        self.held_bytes = 0
        return again

    def drop_waiting(self) -> None:
        """Drop what was not handed out, or is to be handed out again."""
        self._waiting.clear()
        self.waiting_bytes = 0
