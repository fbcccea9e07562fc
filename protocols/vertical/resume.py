"""What all three must agree on before the first share: the terms, and where to go on.

Parties with other terms would scale the summands of one sharing differently; the sum is
then a random word, which no sensitivity covers. So each compares the others' with its own.

After a crash, training goes on from the largest step that every party has kept. A party
can finish a step only with words that the others send in that step, hence after their
checkpoints of the step before: no two are more than one step apart. Who keeps its last
two checkpoints therefore shares one with everybody. Step 0, the beginning, needs none.

    each -> both others   digest of the terms (block), steps held (count u8, u32 each)

Privacy:
    A step that runs again draws new noise and is a new release, charged once more.
"""

from __future__ import annotations

from collections.abc import Iterable

from protocols.codec import Reader, Writer
from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.program import Program, Receive, Send
from protocols.vertical.shares import PARTIES, Trio

# Two are enough; older ones are not told.
TOLD_STEPS = 2


def common_step(trio: Trio, digest: bytes, held: Iterable[int]) -> Program[int]:
    """Compare terms with the others and return the largest step that all three hold.

    Args:
        trio: our side of the computation, connected.
        digest: of the terms, 32 bytes.
        held: the steps of which we kept checkpoints.

    Raises:
        UnsupportedParameterError: another party has other terms.
    """
    ours = sorted(set(held) - {0})[-TOLD_STEPS:]
    payload = _encode(digest, ours)
    others = [trio.name(offset) for offset in range(1, PARTIES)]
    for other in others:
        yield Send(other, payload)
    common = {0, *ours}
    for other in others:
        theirs, steps = _decode((yield Receive(other)))
        if theirs != digest:
            raise UnsupportedParameterError(f"terms: those of {other} differ; end the run")
        common &= {0, *steps}
    return max(common)


def compare_terms(others: Iterable[str], digest: bytes) -> Program[None]:
    """Compare terms between an outsider and each compute party; an outsider keeps no steps.

    Raises:
        UnsupportedParameterError: another party has other terms.
    """
    names = list(others)
    for other in names:
        yield Send(other, _encode(digest, []))
    for other in names:
        theirs, _ = _decode((yield Receive(other)))
        if theirs != digest:
            raise UnsupportedParameterError(f"terms: those of {other} differ; end the run")


def _encode(digest: bytes, steps: list[int]) -> bytes:
    writer = Writer().block(digest).u8(len(steps))
    for step in steps:
        writer.u32(step)
    return writer.encode()


def _decode(data: bytes) -> tuple[bytes, list[int]]:
    reader = Reader(data, "steps held")
    digest = reader.block()
    steps = [reader.u32() for _ in range(reader.u8())]
    reader.finish()
    if len(steps) > TOLD_STEPS or steps != sorted(set(steps)) or 0 in steps:
        raise MalformedMessageError(
            f"steps held: need at most {TOLD_STEPS}, ascending and greater than 0"
        )
    return digest, steps
