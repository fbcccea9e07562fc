"""What all parties must agree on before the first step of the head: blocks, base, terms.

All of it is public. Parties whose terms differ would scale the summands of one sharing
differently; the digest tells them before anything is shared.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass
from fractions import Fraction

from protocols.codec import canonical_json
from protocols.dp.discrete import MAX_SIGMA_SQUARED
from protocols.errors import UnsupportedParameterError
from protocols.vertical.response import RESIDUAL_BITS, WORD_LIMIT_BITS, Response
from protocols.vertical.settings import Schedule

# Float32 features may exceed their norm by a rounding error; the sensitivity allows for it.
NORM_TOLERANCE = Fraction(1, 1_000_000)
MIN_FEATURE_BITS = 8


@dataclass(frozen=True, slots=True)
class Block:
    """The public shape of one owner's encoded columns, or of those of several.

    Attributes:
        owner: its name; that of the block where there are several.
        members: who holds rows of it, the first to prevail first; empty for `owner` alone.
    """

    owner: str
    width: int
    norm: float
    logit_bound: float
    members: tuple[str, ...] = ()

    @property
    def holders(self) -> tuple[str, ...]:
        """Return who holds rows of it, and gets its gradient."""
        return self.members or (self.owner,)


@dataclass(frozen=True, slots=True)
class Base:
    """What the label holder released about its labels, with noise: where the response starts.

    Attributes:
        trained: rows in training, at least 1; the mean gradient is taken over them.
        rate: share of positives among them.
        reach: how far the response may move from the rate.
    """

    trained: int
    rate: float
    reach: float


@dataclass(frozen=True, slots=True)
class Terms:
    """What all compute parties must agree on before the first step; all of it public."""

    rows: int
    blocks: tuple[Block, ...]
    label_holder: str
    steps: int
    noise_multiplier: float
    degree: int
    schedule: Schedule
    base: Base | None = None
    label_members: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        holding = [name for block in self.blocks for name in block.holders]
        if len(set(holding)) != len(holding):
            raise UnsupportedParameterError("blocks: one for each owner; correct the plan")
        if not all(
            block.width > 0 and block.norm > 0 and block.logit_bound > 0 for block in self.blocks
        ):
            raise UnsupportedParameterError(
                "width, norm and logit bound of a block: must be more than 0; correct the plan"
            )
        if not sum(block.norm**2 for block in self.blocks) <= 1 + 1e-9:
            raise UnsupportedParameterError(
                "norms: their squares must sum to at most 1; correct the plan"
            )
        if not self.blocks or self.rows < 1 or self.steps < 1 or not self.noise_multiplier > 0:
            raise UnsupportedParameterError(
                "blocks, rows, steps, noise multiplier: must be more than 0; correct the plan"
            )
        if self.base is not None and not self.base.trained > 0:
            raise UnsupportedParameterError("trained rows: must be more than 0; check the counts")
        if self.feature_bits < MIN_FEATURE_BITS:
            raise UnsupportedParameterError(
                f"rows: {self.rows} leave too few bits; sample the population"
            )
        # Found out here and not at the first draw, when the step is paid for already.
        if not (self.noise_multiplier * self.sensitivity) ** 2 <= 2 * MAX_SIGMA_SQUARED:
            raise UnsupportedParameterError(
                "noise multiplier: no such noise can be drawn; allow more epsilon or fewer steps"
            )

    @property
    def response(self) -> Response:
        """Return the tangent at the base rate, or the polynomial on the owners' logit bounds."""
        if self.base is not None:
            return Response.linear(rate=self.base.rate, reach=self.base.reach)
        return Response.fitted(
            degree=self.degree, bound=sum(block.logit_bound for block in self.blocks)
        )

    @property
    def digest(self) -> bytes:
        """Return the SHA-256 of what must be the same everywhere, to the last bit.

        The noise multiplier is left out: each party adds what it computed itself.
        """
        fields = asdict(self)
        del fields["noise_multiplier"]
        for part, name in [(block, "members") for block in fields["blocks"]] + [
            (fields, "label_members")
        ]:
            if not part[name]:
                del part[name]
        fields["coefficients"] = self.response.coefficients
        return hashlib.sha256(b"lianfang head terms v1\x00" + canonical_json(fields)).digest()

    @property
    def label_holders(self) -> tuple[str, ...]:
        """Return who holds labels, the first to prevail first."""
        return self.label_members or (self.label_holder,)

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Return the holders of every block."""
        return tuple(block.holders for block in self.blocks)

    def block_of(self, name: str) -> Block | None:
        """Return the block of which a party holds rows."""
        return next((block for block in self.blocks if name in block.holders), None)

    def clip(self, block: Block) -> tuple[float, float]:
        """Return an owner's part of the public bound on the logit."""
        if self.base is None:
            return -block.logit_bound, block.logit_bound
        response, owners = self.response, len(self.blocks)
        return response.low / owners, response.high / owners

    @property
    def averaged_rows(self) -> int:
        """Return the rows that a mean gradient is taken over."""
        return self.rows if self.base is None else self.base.trained

    @property
    def feature_bits(self) -> int:
        """Return the fixed-point bits of features for which no gradient can overflow."""
        return min(16, WORD_LIMIT_BITS - RESIDUAL_BITS - 2 - self.rows.bit_length())

    @property
    def sensitivity(self) -> int:
        """Return the largest change of all gradients together, in their integer unit.

        Twice the tolerance of `quantize` covers that of the sum of squared norms too.
        """
        exact = self.response.residual_bound() << self.feature_bits
        return math.ceil(exact * (1 + 2 * NORM_TOLERANCE))

    @property
    def gradient_deviation(self) -> float:
        """Return the noise of one opened mean gradient's coordinate, where two have added it."""
        unit = float(1 << self.gradient_bits) * self.averaged_rows
        return self.noise_multiplier * self.sensitivity / unit

    def deviation_of(self, block: Block, compute: tuple[str, ...]) -> float:
        """Return the noise of one coordinate of a block's opened mean gradient."""
        noises = 2 if block.holders[0] in compute and len(block.holders) == 1 else 3
        return self.gradient_deviation * math.sqrt(noises / 2)

    @property
    def gradient_bits(self) -> int:
        """Return the fixed-point bits of an opened gradient."""
        return self.feature_bits + RESIDUAL_BITS
