"""Party programs: protocol logic as generators over values, with no I/O in them.

A program yields what it wants done and is resumed with the outcome:

    yield Send("telecom", payload)       -> None, once handed to the transport
    payload = yield Receive("telecom")   -> the next payload from that party, in order
    yield Charge(label, event)           -> None, once the charge is durable
    yield Checkpoint(state)              -> None, once the state is durable
    yield Progress(phase, done, total)   -> None, at once

The same program is driven in memory by `run_together` and by processes over the link.
A driver must perform the requests in the order in which they are yielded: `Charge`
before `Send` is what makes a release paid before it leaves.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from protocols.dp.events import DpEvent
from protocols.errors import OutOfTurnError


@dataclass(frozen=True, slots=True)
class Send:
    """Hand one payload to a party; payloads to one party arrive in order."""

    to: str
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Receive:
    """Wait for the next payload of one party."""

    sender: str


@dataclass(frozen=True, slots=True)
class Charge:
    """Pay for a release before it leaves: `event` under the plan's neighbouring relation."""

    label: str
    event: DpEvent


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Keep a state from which the program can be resumed."""

    step: int
    state: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Progress:
    """Tell how far a phase has come."""

    phase: str
    done: int
    total: int


Request = Send | Receive | Charge | Checkpoint | Progress
T = TypeVar("T")
Program = Generator[Request, Any, T]
Watcher = Callable[[str, Request], None]


def drive(program: Program[T], perform: Callable[[Request], bytes | None]) -> T:
    """Run one program to its end, performing its requests one by one, in order.

    Args:
        perform: returns the payload for a `Receive` and None for anything else.
    """
    answer: bytes | None = None
    while True:
        try:
            request = program.send(answer)
        except StopIteration as stop:
            result: T = stop.value
            return result
        answer = perform(request)


def run_together(
    programs: Mapping[str, Program[Any]], watch: Watcher | None = None
) -> dict[str, Any]:
    """Drive programs in one process until all return; the result is keyed by party.

    Args:
        watch: is shown every request in the order performed, as (party, request).

    Raises:
        OutOfTurnError: every unfinished program waits for a payload that nobody will send.
    """
    queues: dict[tuple[str, str], deque[bytes]] = defaultdict(deque)
    waiting: dict[str, Request | None] = dict.fromkeys(programs)
    results: dict[str, Any] = {}
    while waiting:
        moved = False
        for name in list(waiting):
            request = waiting[name]
            answer: bytes | None = None
            if isinstance(request, Receive):
                if not queues[request.sender, name]:
                    continue
                answer = queues[request.sender, name].popleft()
            moved = True
            try:
                request = programs[name].send(answer)
            except StopIteration as stop:
                results[name] = stop.value
                del waiting[name]
                continue
            if watch is not None:
                watch(name, request)
            if isinstance(request, Send):
                queues[name, request.to].append(request.payload)
            waiting[name] = request
        if not moved:
            stuck = ", ".join(sorted(waiting))
            raise OutOfTurnError(f"programs: all of {stuck} wait for a payload nobody sends")
    return results
