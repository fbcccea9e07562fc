"""Integers modulo p = 2^255 - 19, eight at a time, in five limbs of 51 bits.

One rule bounds everything. A *loose* element has limbs below 2^51 + 2^15, so that its
value is below 2p and each limb fits the 52 bits which the multiplier reads. Every function
here takes loose elements and gives a loose element; raw sums of limbs, which `reduce`
makes loose again, never leave the function that wrote them.

    multiplier      52 x 52 bits; low and high half (52 bits each) are added up apart
    a_i b_j         low half at limb i + j, high half at 2^52 = 2 limbs' unit: twice at i + j + 1
    limb 5 + k      19 times at limb k, because 2^255 = 19 modulo p
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from protocols.group.kernel.ir import VECTOR, ZERO, Code, splat

LIMBS = 5
BITS = 51
LOW = 2**BITS - 1
PRIME = 2**255 - 19
ELEMENT = f"[{LIMBS} x {VECTOR}]"
# Limbs of 2p: each at least as large as a loose limb, so that a difference stays positive.
TWICE_PRIME = [2 * (2**BITS - 19)] + [2 * LOW] * (LIMBS - 1)

Limbs = list[str]
Term = tuple[str, str]

DECLARATIONS = "".join(
    f"declare {VECTOR} @llvm.x86.avx512.vpmadd52{half}.uq.512({VECTOR}, {VECTOR}, {VECTOR})\n"
    for half in "lh"
)


class FieldCode(Code):
    """A function that computes with field elements, as limbs or by their addresses."""

    # Limbs in registers.

    def read(self, address: str) -> Limbs:
        """Load an element."""
        return [self.load(self.field(ELEMENT, address, 0, i)) for i in range(LIMBS)]

    def write(self, limbs: Limbs, address: str) -> None:
        """Store an element."""
        for i, limb in enumerate(limbs):
            self.store(limb, self.field(ELEMENT, address, 0, i))

    def raw_sum(self, left: Limbs, right: Limbs) -> Limbs:
        """Add limbs without making them loose."""
        return [self.add(a, b) for a, b in zip(left, right, strict=True)]

    def raw_difference(self, left: Limbs, right: Limbs) -> Limbs:
        """Return left + 2p - right, whose limbs cannot become negative for a loose `right`."""
        limbs = zip(left, TWICE_PRIME, right, strict=True)
        return [self.subtract(self.add(a, splat(twice)), b) for a, twice, b in limbs]

    def reduce(self, limbs: Limbs) -> Limbs:
        """Carry once, all limbs together: limbs below 1700 * 2^51 become loose.

        A carry is below 1700 and 19 of them below 2^15.
        """
        carries = [self.shift_right(limb, BITS) for limb in limbs]
        rests = [self.both(limb, splat(LOW)) for limb in limbs]
        lowest = self._accumulate("l", rests[0], carries[-1], splat(19))
        return [lowest, *self.raw_sum(rests[1:], carries[:-1])]

    def sum_of(self, left: Limbs, right: Limbs) -> Limbs:
        """Add."""
        return self.reduce(self.raw_sum(left, right))

    def difference_of(self, left: Limbs, right: Limbs) -> Limbs:
        """Subtract."""
        return self.reduce(self.raw_difference(left, right))

    def product_of(self, left: Limbs, right: Limbs, *, doubled: bool = False) -> Limbs:
        """Multiply, and double on the way if asked to.

        A column has at most 5 low halves and twice 5 high halves; with the 19-fold column
        that wraps around, and doubled, all are below 2 * 20 * 15 * 2^52, as `reduce` needs.
        Each sum starts from what it would be added to: additions are as dear as products.
        """
        terms = _diagonals((i + j, (a, b)) for i, a in enumerate(left) for j, b in enumerate(right))

        def column(index: int, wrapped: str) -> str:
            high = self._sum("h", ZERO, terms[index - 1])
            return self._sum("l", self._added(self._twice(high), wrapped), terms[index])

        limbs = self._fold(column)
        return self.reduce(self.raw_sum(limbs, limbs) if doubled else limbs)

    def square_of(self, limbs: Limbs) -> Limbs:
        """Multiply by itself: the products of unequal limbs are computed once, added twice.

        The high halves are due twice by their weight alone, so a column is
        2 (2 high unequal + high equal + low unequal) + low equal.
        """
        pairs = [(i, j) for i in range(LIMBS) for j in range(i + 1, LIMBS)]
        unequal = _diagonals((i + j, (limbs[i], limbs[j])) for i, j in pairs)
        equal = _diagonals((2 * i, (limb, limb)) for i, limb in enumerate(limbs))

        def column(index: int, wrapped: str) -> str:
            half = self._twice(self._sum("h", ZERO, unequal[index - 1]))
            half = self._sum("h", half, equal[index - 1])
            half = self._sum("l", half, unequal[index])
            return self._sum("l", self._added(self._twice(half), wrapped), equal[index])

        return self.reduce(self._fold(column))

    def canonical(self, limbs: Limbs) -> Limbs:
        """Return the one representative below p, with limbs below 2^51.

        A loose value is below 2p. Carried through, with 2^255 taken as 19, it is below
        2^255 = p + 19; so p is due once exactly if adding 19 carries out of the top limb.
        """
        limbs = self._carry_through(limbs, wrap=True)
        over = self.shift_right(self.add(limbs[0], splat(19)), BITS)
        for limb in limbs[1:]:
            over = self.shift_right(self.add(limb, over), BITS)
        return self._carry_through([self.add(limbs[0], self._nineteen(over)), *limbs[1:]])

    def choose(self, mask: str, yes: Limbs, no: Limbs) -> Limbs:
        """Select by lanes."""
        return [self.select(mask, a, b) for a, b in zip(yes, no, strict=True)]

    # Elements by their addresses; each result has a room of its own.

    def known(self, value: int) -> str:
        """Return a constant element."""
        address = self.room(ELEMENT)
        self.write(known_limbs(value), address)
        return address

    def product(self, left: str, right: str) -> str:
        """Multiply."""
        return self._apply("multiply", left, right)

    def square(self, item: str) -> str:
        """Multiply by itself."""
        return self._apply("square", item)

    def sum(self, left: str, right: str) -> str:
        """Add."""
        return self._apply("plus", left, right)

    def difference(self, left: str, right: str) -> str:
        """Subtract."""
        return self._apply("minus", left, right)

    def negative(self, item: str) -> str:
        """Negate."""
        return self.difference(self.known(0), item)

    def absolute(self, item: str) -> str:
        """CT_ABS of RFC 9496: the even one of an element and its negative."""
        return self.chosen(self.is_odd(item), self.negative(item), item)

    def chosen(self, mask: str, yes: str, no: str) -> str:
        """Select by lanes."""
        address = self.room(ELEMENT)
        self.write(self.choose(mask, self.read(yes), self.read(no)), address)
        return address

    def is_odd(self, item: str) -> str:
        """IS_NEGATIVE of RFC 9496: the mask of the lanes that are odd once canonical."""
        return self.is_set(self.call("is_odd", f"ptr {item}", result=VECTOR))

    def is_equal(self, left: str, right: str) -> str:
        """CT_EQ of RFC 9496: the mask of the lanes where both are one number modulo p."""
        difference = self.difference(left, right)
        return self.compare("eq", self.call("bits", f"ptr {difference}", result=VECTOR), ZERO)

    def _apply(self, name: str, *operands: str) -> str:
        address = self.room(ELEMENT)
        self.call(name, *(f"ptr {item}" for item in (address, *operands)))
        return address

    def _accumulate(self, half: str, total: str, left: str, right: str) -> str:
        arguments = ", ".join(f"{VECTOR} {item}" for item in (total, left, right))
        return self.value(f"call {VECTOR} @llvm.x86.avx512.vpmadd52{half}.uq.512({arguments})")

    def _sum(self, half: str, total: str, terms: Sequence[Term]) -> str:
        """Add the halves of some products to a sum."""
        for left, right in terms:
            total = self._accumulate(half, total, left, right)
        return total

    def _fold(self, column: Callable[[int, str], str]) -> Limbs:
        """Compute the upper columns, then the lower ones upon 19 times the upper."""
        upper = [column(LIMBS + index, ZERO) for index in range(LIMBS)]
        return [column(index, self._nineteen(item)) for index, item in enumerate(upper)]

    def _carry_through(self, limbs: Limbs, *, wrap: bool = False) -> Limbs:
        limbs = list(limbs)
        for i in range(LIMBS - 1):
            limbs[i + 1] = self.add(limbs[i + 1], self.shift_right(limbs[i], BITS))
            limbs[i] = self.both(limbs[i], splat(LOW))
        if wrap:
            over = self.shift_right(limbs[-1], BITS)
            limbs[0] = self.add(limbs[0], self._nineteen(over))
        limbs[-1] = self.both(limbs[-1], splat(LOW))
        return limbs

    def _added(self, left: str, right: str) -> str:
        return left if right == ZERO else right if left == ZERO else self.add(left, right)

    def _twice(self, item: str) -> str:
        return item if item == ZERO else self.add(item, item)

    def _nineteen(self, item: str) -> str:
        """Return 19 times a vector: 16 + 2 + 1."""
        return self.add(self.add(self.shift_left(item, 4), self.shift_left(item, 1)), item)


def _diagonals(terms: Iterable[tuple[int, Term]]) -> list[list[Term]]:
    """Sort products by the sum of their indices; the last list, at 9 and at -1, is empty."""
    diagonals: list[list[Term]] = [[] for _ in range(2 * LIMBS)]
    for index, term in terms:
        diagonals[index].append(term)
    return diagonals


def known_limbs(value: int) -> Limbs:
    """Return the limbs of a constant, the same in every lane."""
    return [splat(value % PRIME >> BITS * i & LOW) for i in range(LIMBS)]


def field_functions() -> list[str]:
    """Return multiply, square, plus, minus, is_odd and bits as functions on addresses."""
    functions = []
    for name in ("multiply", "plus", "minus"):
        code = FieldCode(name, "ptr %out", "ptr %left", "ptr %right")
        left, right = code.read("%left"), code.read("%right")
        operation = {"plus": code.sum_of, "minus": code.difference_of}.get(name, code.product_of)
        code.write(operation(left, right), "%out")
        functions.append(code.text())
    code = FieldCode("square", "ptr %out", "ptr %item")
    code.write(code.square_of(code.read("%item")), "%out")
    functions.append(code.text())
    code = FieldCode("is_odd", "ptr %item", result=VECTOR)
    lowest = code.canonical(code.read("%item"))[0]
    functions.append(code.text(answer=code.both(lowest, splat(1))))
    code = FieldCode("bits", "ptr %item", result=VECTOR)
    limbs = code.canonical(code.read("%item"))
    every = limbs[0]
    for limb in limbs[1:]:
        every = code.either(every, limb)
    functions.append(code.text(answer=every))
    return functions
