"""Requests that arrive as customers do, whether the hub keeps up or not.

Arrivals are a Poisson process that is drawn beforehand. A request that finds no free
connection opens one; its time runs from the moment at which it should have been sent, so
that a hub that stands still for a second is seen to (no coordinated omission). HTTP is
written by hand here: a client that cost as much as the hub would measure itself.

Source:
    RFC 9112, sections 2 and 6: the only framing that is read is Content-Length.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clients.output import CommandError

MOST_CONNECTIONS = 96
TIMEOUT_S = 30.0
_OK = b"HTTP/1.1 200"
_LENGTH = b"\r\ncontent-length:"
_END = b"\r\n\r\n"
# Sleeping is not exact: a request is sent when it is due, give or take this much.
_SLACK_S = 0.0005


@dataclass(frozen=True, slots=True)
class Sent:
    """One request on the wire, and what its sender keeps to check the answer by."""

    head: bytes
    body: bytes = field(repr=False)
    kept: Any = field(default=None, repr=False)


@dataclass(slots=True)
class Arrived:
    """What became of all requests.

    Attributes:
        seconds: from when each was due until its answer was there, in the order of ending.
        due: when each was due, seconds from the beginning, in the same order.
        refused: answers that were no success, by their status line.
        samples: the sender's keepsake and the answer's body, of every so-manieth request.
    """

    seconds: list[float] = field(default_factory=list)
    due: list[float] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    samples: list[tuple[Any, bytes]] = field(default_factory=list)
    connections: int = 0


Make = Callable[[int], Sent]
Tick = Callable[[float], None]


def send_all(
    address: str,
    context: ssl.SSLContext,
    make: Make,
    *,
    rate: float,
    seconds: float,
    seed: int,
    sample_every: int,
    tick: Tick,
) -> Arrived:
    """Send requests at `rate` a second for `seconds`, and return what became of them.

    Args:
        make: makes the request of a number, when it is due.
        tick: called about once a second with the seconds that have passed.

    Raises:
        CommandError: a connection broke, or an answer did not come within `TIMEOUT_S`.
    """
    generator = np.random.default_rng(seed)
    gaps = generator.exponential(1.0 / rate, int(rate * seconds))
    return asyncio.run(
        _Arrivals(address, context, make, np.cumsum(gaps).tolist(), sample_every).run(tick)
    )


class _Arrivals:
    def __init__(
        self, address: str, context: ssl.SSLContext, make: Make, due: list[float], every: int
    ) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host, int(port)
        self._context = context
        self._make = make
        self._due = due
        self._every = every
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._room = asyncio.Semaphore(MOST_CONNECTIONS)
        self._found = Arrived()
        self._failure: BaseException | None = None
        self._begin = 0.0

    async def run(self, tick: Tick) -> Arrived:
        under_way: set[asyncio.Task[None]] = set()
        self._begin = time.perf_counter()
        told = 0.0
        for number, due in enumerate(self._due):
            ahead = due - (time.perf_counter() - self._begin)
            if ahead > _SLACK_S:
                await asyncio.sleep(ahead)
            task = asyncio.create_task(self._one(number, due))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            task.add_done_callback(self._note)
            if self._failure is not None:
                raise self._failure
            if due - told >= 1.0:
                told = due
                tick(due)
        if under_way:
            await asyncio.gather(*under_way)
        if self._failure is not None:
            raise self._failure
        for _, writer in self._idle:
            writer.close()
        return self._found

    async def _one(self, number: int, due: float) -> None:
        async with self._room:
            reader, writer = self._kept() or await self._connect()
            sent = self._make(number)
            writer.write(sent.head + sent.body)
            try:
                status, body = await asyncio.wait_for(_answer(reader), TIMEOUT_S)
            except (TimeoutError, OSError, asyncio.IncompleteReadError) as error:
                raise CommandError(
                    f"load: no answer to a request ({type(error).__name__}); see the hub's log"
                ) from error
            if status.startswith(_OK):
                self._idle.append((reader, writer))
            else:
                writer.close()  # a hub that refuses in a hurry reads no more of the connection
        self._found.seconds.append(time.perf_counter() - self._begin - due)
        self._found.due.append(due)
        if not status.startswith(_OK):
            line = status.decode(errors="replace")
            self._found.refused[line] = self._found.refused.get(line, 0) + 1
        elif number % self._every == 0:
            self._found.samples.append((sent.kept, body))

    def _note(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and self._failure is None:
            self._failure = task.exception()

    def _kept(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Return a connection that is free; the hub closes those that were idle for long."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return None

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self._found.connections += 1
        return await asyncio.open_connection(
            self._host, self._port, ssl=self._context, server_hostname=self._host
        )


async def _answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read one answer: its status line and its body."""
    head = await reader.readuntil(_END)
    lower = head.lower()
    at = lower.find(_LENGTH)
    if at < 0:
        raise CommandError("load: an answer without Content-Length; see the hub's log")
    length = int(lower[at + len(_LENGTH) : lower.index(b"\r\n", at + 2)])
    return head[: head.index(b"\r\n")], await reader.readexactly(length)
