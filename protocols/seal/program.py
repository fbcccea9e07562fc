"""Seal what a party program sends to a peer, and open what it receives from one.

The result is a program again, so that any driver can run it; parties without a pair are
reached as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from protocols.program import Program, Receive, Send
from protocols.seal.derivation import Pair

T = TypeVar("T")


def sealed(program: Program[T], pairs: Mapping[str, Pair]) -> Program[T]:
    """Return the program with its payloads sealed towards, and opened from, `pairs`.

    Raises:
        ProtocolError: as `Opener.open`; the program is then closed.

    Privacy:
        Whoever carries the frames learns their lengths, order and parties, nothing else.
    """
    answer: Any = None
    try:
        while True:
            try:
                request = program.send(answer)
            except StopIteration as stop:
                result: T = stop.value
                return result
            match request:
                case Send(to, payload) if to in pairs:
                    answer = yield Send(to, pairs[to].sealer.seal(payload))
                case Receive(sender) if sender in pairs:
                    frame = yield request
                    answer = pairs[sender].opener.open(frame)
                case _:
                    answer = yield request
    finally:
        program.close()
