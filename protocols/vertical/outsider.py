"""The side of an owner that does not compute: it shares what it brings, and gets what is its own.

    outsider -> party 0      seeds of x_0 and x_1
             -> party 1      seed of x_1;   -> party 2   seed of x_0
             -> 1 and 2      for every tensor x: x_2 = x - F(t_0) - F(t_1)
    party 0, 1, 2 -> outsider   their blinded summands of what is opened to it

A compute party that is honest but curious sees uniform words; two of them together could
rebuild what was shared, as they could of each other's inputs.

Source:
    Araki, Furukawa, Lindell, Nof, Ohara 2016 (eprint 2016/768), section 2.1: the form of
    the shares; a dealer outside of the three as in its section on input sharing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from protocols.errors import UnsupportedParameterError
from protocols.program import Program, Receive, Send
from protocols.vertical.ring import SEED_SIZE, pseudorandom_words
from protocols.vertical.shares import PARTIES
from protocols.vertical.words import decode_words, encode_words


class Outsider:
    """One owner's side of a computation that three others do."""

    def __init__(
        self, *, names: tuple[str, str, str], ours: str, random: Callable[[int], bytes]
    ) -> None:
        if len(set(names)) != PARTIES or ours in names:
            raise UnsupportedParameterError(
                "compute parties: three different names, and ours is not among them"
            )
        self.names = names
        self.ours = ours
        self._seeds = (random(SEED_SIZE), random(SEED_SIZE))
        self._counter = 0

    def connect(self) -> Program[None]:
        """Hand each compute party the seeds of the summands that it holds."""
        zero, one = self._seeds
        for name, payload in zip(self.names, (zero + one, one, zero), strict=True):
            yield Send(name, payload)

    def share(self, values: Tensor) -> Program[None]:
        """Share a tensor among the three.

        Shapes:
            values: any, int64.
        """
        if values.dtype != torch.int64:
            raise UnsupportedParameterError(f"share: {self.ours} must give int64 words")
        self._counter += 1
        rest = values.clone()
        for seed in self._seeds:
            rest -= pseudorandom_words(seed, self._counter, values.numel()).reshape(values.shape)
        payload = encode_words(rest)
        for name in self.names[1:]:
            yield Send(name, payload)

    def opened(self, count: int) -> Program[Tensor]:
        """Return what the three open to us; (count,), int64."""
        total = torch.zeros(count, dtype=torch.int64)
        for name in self.names:
            total += decode_words((yield Receive(name)), count, "opening")
        return total
