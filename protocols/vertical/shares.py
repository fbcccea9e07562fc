"""Three-party replicated secret sharing over Z_2^64, semi-honest, honest majority.

A value is x = x_0 + x_1 + x_2; party i holds (x_i, x_{i+1}), so that any two parties can
rebuild it and any one sees uniform words. Seed s_j is held by parties j and j-1 alone.

    share     owner i: x_i = F(s_i), x_{i+1} = x - x_i to party i+1, x_{i-1} = 0
              outsider: x_0 = F(t_0), x_1 = F(t_1), x_2 = x - x_0 - x_1 to both who hold it
    multiply  z_i = x_i y_i + x_i y_{i+1} + x_{i+1} y_i + zero_i;  z_i goes to party i-1
    truncate  a dealer's mask, exact up to one unit in the last place (see `truncate`)
    open_to   the two others send their summands to one party, or all three to an outsider

Every method that talks is a sub-program (`yield from`). All parties must call the same
methods in the same order: a counter, equal on all sides, keys every pseudorandom stream
once and never again.

Source:
    Araki, Furukawa, Lindell, Nof, Ohara 2016 (eprint 2016/768), sections 2.1 to 2.3;
    truncation after Dalskov, Escudero, Keller 2021 (eprint 2020/1330), section 5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.program import Program, Receive, Send
from protocols.vertical.ring import SEED_SIZE, pseudorandom_words, shift_right
from protocols.vertical.words import decode_words, encode_words

PARTIES = 3
# A truncated value must satisfy |x| < 2^62, so that x + 2^62 is a 63-bit natural number.
TRUNCATION_BITS = 62


@dataclass(frozen=True, slots=True)
class Shared:
    """One party's two summands of a shared tensor; None stands for a summand known to be 0."""

    first: Tensor | None = field(repr=False)
    second: Tensor | None = field(repr=False)

    def __add__(self, other: Shared) -> Shared:
        return Shared(_plus(self.first, other.first), _plus(self.second, other.second))

    def scaled(self, factor: int) -> Shared:
        """Multiply by a public integer."""
        return Shared(
            None if self.first is None else self.first * factor,
            None if self.second is None else self.second * factor,
        )


class Trio:
    """One party's side of the three-party computation."""

    def __init__(
        self,
        *,
        names: tuple[str, str, str],
        ours: str,
        random: Callable[[int], bytes],
        outsiders: tuple[str, ...] = (),
    ) -> None:
        if len(set(names)) != PARTIES or ours not in names or set(outsiders) & set(names):
            raise UnsupportedParameterError(
                "compute parties: three different names, ours among them, and no outsider"
            )
        self.names = names
        self.outsiders = outsiders
        self._dealt: dict[str, Dealt] = {}
        self.index = names.index(ours)
        self._random = random
        self._seeds: tuple[bytes, bytes] = (b"", b"")
        self._own_seed = random(SEED_SIZE)
        self._counter = 0

    def name(self, offset: int) -> str:
        """Return the name of the party `offset` places after ours."""
        return self.names[(self.index + offset) % PARTIES]

    def connect(self) -> Program[None]:
        """Agree the pairwise seeds: each party draws its own and hands it to the one before."""
        mine = self._random(SEED_SIZE)
        yield Send(self.name(-1), mine)
        theirs = yield Receive(self.name(1))
        if len(theirs) != SEED_SIZE:
            raise MalformedMessageError(f"seed: {len(theirs)} bytes, expected {SEED_SIZE}")
        self._seeds = (mine, theirs)
        for outsider in self.outsiders:
            self._dealt[outsider] = Dealt.decode(self.index, (yield Receive(outsider)))

    def share(self, owner: str, values: Tensor | None, shape: tuple[int, ...]) -> Program[Shared]:
        """Share a tensor that one party holds in the clear.

        Args:
            owner: one of the compute parties, or an outsider.
            values: the int64 tensor at its owner, None at the others.
            shape: its public shape.
        """
        if owner in self._dealt:
            return (yield from self._dealt[owner].take(owner, shape))
        if owner not in self.names:
            raise UnsupportedParameterError(f"share: {owner} is no compute party")
        counter = self._next()
        count = _size(shape)
        if self.names[self.index] == owner:
            if values is None or values.dtype != torch.int64 or tuple(values.shape) != shape:
                # A smaller tensor would broadcast, and floats would lose their masks' low bits.
                raise UnsupportedParameterError(f"share: {owner} must give int64 words of {shape}")
            first = pseudorandom_words(self._seeds[0], counter, count).reshape(shape)
            second = values - first
            yield Send(self.name(1), encode_words(second))
            return Shared(first, second)
        if self.name(1) == owner:
            return Shared(None, pseudorandom_words(self._seeds[1], counter, count).reshape(shape))
        payload = yield Receive(owner)
        return Shared(decode_words(payload, count, "share").reshape(shape), None)

    def constant(self, shared: Shared, value: int) -> Shared:
        """Add a public integer to a shared tensor; summand 0 carries it."""
        if self.index == 0:
            base = torch.zeros(1, dtype=torch.int64) if shared.first is None else shared.first
            return Shared(base + value, shared.second)
        if self.index == PARTIES - 1:
            base = torch.zeros(1, dtype=torch.int64) if shared.second is None else shared.second
            return Shared(shared.first, base + value)
        return shared

    def zero(self, count: int) -> Tensor:
        """Return our summand of a fresh sharing of zero (Araki et al. 2016, section 2.2)."""
        counter = self._next()
        ours = pseudorandom_words(self._seeds[0], counter, count)
        return ours - pseudorandom_words(self._seeds[1], counter, count)

    def multiply(self, left: Shared, right: Shared, count: int) -> Program[Shared]:
        """Multiply element by element; the scales of fixed point add up."""
        return (yield from self.reshare(product(left, right, count) + self.zero(count)))

    def reshare(self, summand: Tensor) -> Program[Shared]:
        """Turn blinded summands, one at each party, into a replicated sharing."""
        yield Send(self.name(-1), encode_words(summand))
        payload = yield Receive(self.name(1))
        joint = decode_words(payload, summand.numel(), "product").reshape(summand.shape)
        return Shared(summand, joint)

    def open_to(self, receiver: str, summand: Tensor) -> Program[Tensor | None]:
        """Open blinded summands to one party; the others learn nothing and return None."""
        return (yield from self.open_to_each((receiver,), summand))

    def open_to_each(self, receivers: tuple[str, ...], summand: Tensor) -> Program[Tensor | None]:
        """Open blinded summands to several at once, outsiders too: all get the same sum."""
        payload = encode_words(summand)
        for receiver in receivers:
            if self.names[self.index] != receiver:
                yield Send(receiver, payload)
        if self.names[self.index] not in receivers:
            return None
        total = summand.clone()
        for offset in (1, 2):
            payload = yield Receive(self.name(offset))
            total += decode_words(payload, summand.numel(), "opening")
        return total

    def truncate(self, summand: Tensor, bits: int) -> Program[Shared]:
        """Divide blinded summands of x by 2^bits, rounding at random to a neighbour, unbiased.

        The last party deals a mask r of 64 uniform bits and never sees c = x + 2^62 + r,
        which the two others open between them: c is uniform, so nothing leaks and, unlike
        with a local shift of shares, there is no input for which the result is far off.
        As naturals x' = c - r + 2^64 w, where the sum wrapped (w = 1) exactly if the top
        bit of r is 1 and that of c is 0. Hence x' >> bits is (c >> bits) - (r >> bits)
        + 2^(64 - bits) w, or one less; the mean over r is exact.

        Args:
            summand: ours of x, |x| < 2^62, blinded by `zero`.
            bits: 1 to 61.
        """
        count = summand.numel()
        masks = [self._next() for _ in range(4)]
        if self.index == PARTIES - 1:
            return (yield from self._deal(summand, bits, masks))
        # Of the two openers, party 0 follows the dealer and shares seed s_0 with it.
        follows = self.index == 0
        other = self.name(1) if follows else self.name(-1)
        dealer = self.names[PARTIES - 1]
        yield Send(other, encode_words(summand))
        masked = decode_words((yield Receive(dealer)), count, "masked value")
        opened = decode_words((yield Receive(other)), count, "masked value")
        opened += summand + masked + (1 << TRUNCATION_BITS)
        wrapped = 1 - shift_right(opened, 63)  # w is this public bit times the top bit of r
        if follows:
            seed = self._seeds[0]
            high = pseudorandom_words(seed, masks[0], count)
            top = pseudorandom_words(seed, masks[1], count)
            kept = pseudorandom_words(seed, masks[2], count)
            part = -high
        else:
            words = decode_words((yield Receive(dealer)), 2 * count, "mask")
            high, top = words[:count], words[count:]
            kept = pseudorandom_words(self._seeds[1], masks[3], count)
            part = shift_right(opened, bits) - (1 << (TRUNCATION_BITS - bits)) - high
        part = part + (wrapped << (64 - bits)) * top - kept
        yield Send(other, encode_words(part))
        joint = part + decode_words((yield Receive(other)), count, "quotient")
        return Shared(kept, joint) if follows else Shared(joint, kept)

    def _deal(self, summand: Tensor, bits: int, masks: list[int]) -> Program[Shared]:
        """Play the dealer of `truncate`; party 0 follows with s_0, party 1 precedes with s_2."""
        count = summand.numel()
        mask = pseudorandom_words(self._own_seed, masks[0], count)
        masked = encode_words(summand + mask)
        yield Send(self.name(1), masked)
        yield Send(self.name(-1), masked)
        with_zero, with_one = self._seeds[1], self._seeds[0]  # s_0 and s_2
        high = shift_right(mask, bits) - pseudorandom_words(with_zero, masks[0], count)
        top = shift_right(mask, 63) - pseudorandom_words(with_zero, masks[1], count)
        yield Send(self.name(-1), encode_words(torch.cat([high, top])))
        return Shared(
            pseudorandom_words(with_one, masks[3], count),
            pseudorandom_words(with_zero, masks[2], count),
        )

    def _next(self) -> int:
        self._counter += 1
        return self._counter


@dataclass(slots=True)
class Dealt:
    """What an outsider has handed us for its sharings: our seeds of its streams, by summand.

    Of summands x_0 and x_1 the seeds are dealt once; x_2 is sent for every tensor.
    """

    index: int
    seeds: tuple[bytes, ...] = field(repr=False)
    counter: int = 0

    @classmethod
    def decode(cls, index: int, data: bytes) -> Dealt:
        """Read the seeds: of x_0 and x_1 at party 0, of x_1 at party 1, of x_0 at party 2."""
        expected = SEED_SIZE * (2 if index == 0 else 1)
        if len(data) != expected:
            raise MalformedMessageError(f"dealt seeds: {len(data)} bytes, expected {expected}")
        return cls(index, tuple(data[i : i + SEED_SIZE] for i in range(0, expected, SEED_SIZE)))

    def take(self, owner: str, shape: tuple[int, ...]) -> Program[Shared]:
        """Return our two summands of the outsider's next tensor."""
        self.counter += 1
        count = _size(shape)
        drawn = [
            pseudorandom_words(seed, self.counter, count).reshape(shape) for seed in self.seeds
        ]
        if self.index == 0:
            return Shared(drawn[0], drawn[1])
        words = decode_words((yield Receive(owner)), count, "share").reshape(shape)
        return Shared(drawn[0], words) if self.index == 1 else Shared(words, drawn[0])


def product(left: Shared, right: Shared, count: int) -> Tensor:
    """Return our unblinded summand of an element-wise product."""
    return gated(left, right, (count,))


def gated(left: Shared, right: Shared, shape: tuple[int, ...]) -> Tensor:
    """Return our unblinded summand of a product with every row of a tensor.

    Shapes:
        left: (count,); right and result: `shape`, whose last axis is `count`.
    """
    total = torch.zeros(shape, dtype=torch.int64)
    if left.first is not None:
        total += left.first * _sum(right, shape)
    if left.second is not None and right.first is not None:
        total += left.second * right.first
    return total


def matrix_product(left: Shared, right: Shared, rows: int, count: int) -> Tensor:
    """Return our unblinded summand of matrix times vector.

    Shapes:
        left: (rows, count); right: (count,); result: (rows,).
    """
    total = torch.zeros(rows, dtype=torch.int64)
    if left.first is not None:
        total += left.first.mv(_sum(right, (count,)))
    if left.second is not None and right.first is not None:
        total += left.second.mv(right.first)
    return total


def _sum(shared: Shared, shape: tuple[int, ...]) -> Tensor:
    both = _plus(shared.first, shared.second)
    return torch.zeros(shape, dtype=torch.int64) if both is None else both


def _plus(left: Tensor | None, right: Tensor | None) -> Tensor | None:
    if left is None or right is None:
        return right if left is None else left
    return left + right


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size
