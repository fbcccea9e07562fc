"""Where to go on after a crash: the largest step that every compute party has kept.

A party can finish a step only with words that the others send in that step, hence after
their checkpoints of the step before: no two are more than one step apart. Who keeps
its last two checkpoints therefore shares one with everybody. Step 0, the beginning,
needs no checkpoint.

    each -> both others   steps held (count u8, then u32 each, ascending)

Privacy:
    A step that runs again draws new noise and is a new release, charged once more.
"""

from __future__ import annotations

from collections.abc import Iterable

from protocols.codec import Reader, Writer
from protocols.errors import MalformedMessageError
from protocols.program import Program, Receive, Send
from protocols.vertical.shares import PARTIES, Trio

# Two are enough; older ones are not told.
TOLD_STEPS = 2


def common_step(trio: Trio, held: Iterable[int]) -> Program[int]:
    """Tell the others which steps we hold and return the largest that all three hold."""
    ours = sorted(set(held) - {0})[-TOLD_STEPS:]
    payload = _encode(ours)
    others = [trio.name(offset) for offset in range(1, PARTIES)]
    for other in others:
        yield Send(other, payload)
    common = {0, *ours}
    for other in others:
        common &= {0, *_decode((yield Receive(other)))}
    return max(common)


def _encode(steps: list[int]) -> bytes:
    writer = Writer().u8(len(steps))
    for step in steps:
        writer.u32(step)
    return writer.encode()


def _decode(data: bytes) -> list[int]:
    reader = Reader(data, "steps held")
    steps = [reader.u32() for _ in range(reader.u8())]
    reader.finish()
    if len(steps) > TOLD_STEPS or steps != sorted(set(steps)) or 0 in steps:
        raise MalformedMessageError(
            f"steps held: need at most {TOLD_STEPS}, ascending and greater than 0"
        )
    return steps
