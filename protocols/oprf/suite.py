"""The suite ristretto255-SHA512: hashes, domains, random scalars.

Specification: RFC 9497, sections 3.1 and 4.1.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from protocols.errors import UnsupportedParameterError
from protocols.group.expand import expand_messages
from protocols.group.interface import SCALAR_SIZE, UNIFORM_SIZE, Group

IDENTIFIER = b"ristretto255-SHA512"
MAX_INPUT_SIZE = 2**16 - 1
# RFC 9497, section 2.2.1: the composites number their elements with I2OSP(i, 2).
MAX_BATCH = 65_536

Random = Callable[[int], bytes]


class Mode(enum.IntEnum):
    """RFC 9497, section 3.1: the protocol variants in use here."""

    OPRF = 0
    VOPRF = 1


@dataclass(frozen=True, slots=True)
class Suite:
    """One mode over one group; both sides must hold the same."""

    group: Group = field(repr=False)
    mode: Mode = Mode.VOPRF

    @property
    def context(self) -> bytes:
        """The contextString of every hash (RFC 9497, section 3.1)."""
        return b"OPRFV1-" + bytes([self.mode]) + b"-" + IDENTIFIER

    def hash_to_group(self, inputs: Sequence[bytes]) -> bytes:
        """Hash every input to an element.

        Raises:
            UnsupportedParameterError: an input is longer than its two-byte length can say.
        """
        tag = b"HashToGroup-" + self.context
        for index, item in enumerate(inputs):
            if len(item) > MAX_INPUT_SIZE:
                raise UnsupportedParameterError(
                    f"input {index}: {len(item)} bytes, at most {MAX_INPUT_SIZE}"
                )
        return self.group.map_to_group(expand_messages(inputs, tag))

    def hash_to_scalars(
        self,
        messages: Iterable[bytes],
        tag: bytes = b"HashToScalar-",
        *,
        prefix: bytes = b"",
        suffix: bytes = b"",
    ) -> bytes:
        """Hash every message, between `prefix` and `suffix`, to a scalar.

        Source:
            RFC 9497, section 4.1, HashToScalar.
        """
        tag += self.context
        return self.group.reduce(expand_messages(messages, tag, prefix=prefix, suffix=suffix))


def random_scalars(group: Group, count: int, random: Random) -> bytes:
    """Draw uniform scalars other than zero.

    Raises:
        UnsupportedParameterError: the source of randomness repeats zero: it is broken.

    Source:
        RFC 9497, section 4.7.2, by wide reduction; erratum 8392 excludes zero.
    """
    uniform = random(UNIFORM_SIZE * count)
    if len(uniform) != UNIFORM_SIZE * count:
        raise UnsupportedParameterError(
            "random: wrong number of bytes; pass a source like os.urandom"
        )
    scalars = group.reduce(uniform)
    for at in range(0, len(scalars), SCALAR_SIZE):
        if scalars[at : at + SCALAR_SIZE] == bytes(SCALAR_SIZE):
            raise UnsupportedParameterError("random: gives zero; pass a source like os.urandom")
    return scalars


def prefixed(data: bytes) -> bytes:
    """Return `I2OSP(len(data), 2) || data`, the framing of every hashed field."""
    return len(data).to_bytes(2, "big") + data
