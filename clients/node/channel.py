"""How a party program's requests are performed at a node: link, seals, ledger, disk.

Frames for other partners are sealed pairwise before they reach the link; frames for the
hub itself (pseudonym sets, shares for the hub as a compute party) travel under the link's
own TLS, which ends there. A `Charge` is durable before the program goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from protocols.dp.events import DpEvent
from protocols.program import Charge, Checkpoint, Program, Progress, Receive, Request, Send, drive
from protocols.seal import Pair
from protocols.seal.program import sealed

T = TypeVar("T")


class Carrier(Protocol):
    """The link as a program sees it."""

    def send(self, to: str, payload: bytes) -> None:
        """Hand over one payload; payloads to one party arrive in order."""
        ...

    def receive(self, sender: str) -> bytes:
        """Wait for the next payload of one party, up to the deadline."""
        ...


@dataclass(slots=True)
class Channel:
    """One phase of one run at one party."""

    carrier: Carrier
    pairs: Mapping[str, Pair] = field(repr=False)
    charge: Callable[[str, DpEvent], None]
    keep: Callable[[int, bytes], None]
    progress: Callable[[Progress], None]

    def run(self, program: Program[T]) -> T:
        """Drive a program to its end."""
        return drive(sealed(program, self.pairs), self._perform)

    def _perform(self, request: Request) -> bytes | None:
        match request:
            case Send(to, payload):
                self.carrier.send(to, payload)
            case Receive(sender):
                return self.carrier.receive(sender)
            case Charge(label, event):
                self.charge(label, event)
            case Checkpoint(step, state):
                self.keep(step, state)
            case Progress():
                self.progress(request)
        return None
