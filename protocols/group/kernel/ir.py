"""Functions of LLVM IR as text: vectors of eight lanes, memory, counted loops.

Loops are the only control flow that can be written here, and their bounds are 64-bit
integers that come from the caller. No operation moves a lane into such an integer, but
for `mask_bits`, which stores public answers and returns nothing.

Specification: LLVM Language Reference, as of LLVM 22.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

LANES = 8
VECTOR = "<8 x i64>"
MASK = "<8 x i1>"
ZERO = "zeroinitializer"

# LLVM prefers vectors of 256 bits on some processors; these keep ours whole.
ATTRIBUTES = 'nounwind "min-legal-vector-width"="512" "prefer-vector-width"="512"'


class Code:
    """One function under construction. Values are the names that IR gives them."""

    def __init__(self, name: str, *parameters: str, result: str = "void") -> None:
        self.name = name
        self._parameters = parameters
        self._result = result
        self._numbers = itertools.count()
        self._rooms: list[str] = []
        self._lines: list[str] = []

    def do(self, instruction: str) -> None:
        """Append an instruction without a result."""
        self._lines.append(f"  {instruction}")

    def value(self, instruction: str) -> str:
        """Append an instruction and return its result."""
        name = f"%v{next(self._numbers)}"
        self.do(f"{name} = {instruction}")
        return name

    def room(self, kind: str) -> str:
        """Reserve memory on the stack for the whole call; return its address."""
        name = f"%m{next(self._numbers)}"
        self._rooms.append(f"  {name} = alloca {kind}, align 64")
        return name

    def call(self, name: str, *arguments: str, result: str = "void") -> str:
        """Call another function; arguments are written with their types."""
        text = f"call {result} @{name}({', '.join(arguments)})"
        if result != "void":
            return self.value(text)
        self.do(text)
        return ""

    # Vectors, lane by lane.

    def add(self, left: str, right: str) -> str:
        """Add, modulo 2^64."""
        return self.value(f"add {VECTOR} {left}, {right}")

    def subtract(self, left: str, right: str) -> str:
        """Subtract, modulo 2^64."""
        return self.value(f"sub {VECTOR} {left}, {right}")

    def both(self, left: str, right: str) -> str:
        """And, bit by bit."""
        return self.value(f"and {VECTOR} {left}, {right}")

    def either(self, left: str, right: str) -> str:
        """Or, bit by bit."""
        return self.value(f"or {VECTOR} {left}, {right}")

    def shift_left(self, item: str, bits: int | str) -> str:
        """Shift towards the high bits; `bits` is a number or a vector."""
        return self.value(f"shl {VECTOR} {item}, {_amount(bits)}")

    def shift_right(self, item: str, bits: int | str) -> str:
        """Shift towards the low bits."""
        return self.value(f"lshr {VECTOR} {item}, {_amount(bits)}")

    def compare(self, relation: str, left: str, right: str) -> str:
        """Return a mask; `relation` is eq, ne, ult or another of IR's."""
        return self.value(f"icmp {relation} {VECTOR} {left}, {right}")

    def select(self, mask: str, yes: str, no: str) -> str:
        """Choose in every lane by the mask, without a branch."""
        return self.value(f"select {MASK} {mask}, {VECTOR} {yes}, {VECTOR} {no}")

    def mask_and(self, left: str, right: str) -> str:
        """And of masks."""
        return self.value(f"and {MASK} {left}, {right}")

    def mask_or(self, left: str, right: str) -> str:
        """Or of masks."""
        return self.value(f"or {MASK} {left}, {right}")

    def mask_not(self, mask: str) -> str:
        """Complement of a mask."""
        return self.value(f"xor {MASK} {mask}, splat (i1 true)")

    def widen(self, mask: str) -> str:
        """Return 1 in every lane of the mask, 0 in the others."""
        return self.value(f"zext {MASK} {mask} to {VECTOR}")

    def is_set(self, item: str) -> str:
        """Return the mask of the lanes that are not zero."""
        return self.compare("ne", item, ZERO)

    # Memory and numbers.

    def number(self, operation: str, left: str, right: str | int) -> str:
        """Compute with two 64-bit integers, which are counters, sizes or strides."""
        return self.value(f"{operation} i64 {left}, {right}")

    def field(self, kind: str, base: str, *indices: str | int) -> str:
        """Return the address of a part of a structure of type `kind`."""
        path = ", ".join(f"i64 {index}" for index in indices)
        return self.value(f"getelementptr {kind}, ptr {base}, {path}")

    def load(self, address: str, kind: str = VECTOR, alignment: int = 64) -> str:
        """Read a vector."""
        return self.value(f"load {kind}, ptr {address}, align {alignment}")

    def store(self, item: str, address: str, kind: str = VECTOR, alignment: int = 64) -> None:
        """Write a vector."""
        self.do(f"store {kind} {item}, ptr {address}, align {alignment}")

    def mask_bits(self, mask: str, address: str) -> None:
        """Write a mask as one byte, lane 0 as the lowest bit."""
        self.store(self.value(f"bitcast {MASK} {mask} to i8"), address, "i8", 1)

    @contextmanager
    def loop(self, count: str | int) -> Iterator[str]:
        """Repeat for 0, 1, ... `count` - 1; the counter is a 64-bit integer."""
        label = f"l{next(self._numbers)}"
        place = self.room("i64")
        self.store("0", place, "i64", 8)
        self.do(f"br label %{label}.test")
        self._lines.append(f"{label}.test:")
        counter = self.load(place, "i64", 8)
        more = self.value(f"icmp ult i64 {counter}, {count}")
        self.do(f"br i1 {more}, label %{label}.body, label %{label}.done")
        self._lines.append(f"{label}.body:")
        yield counter
        self.store(self.number("add", counter, 1), place, "i64", 8)
        self.do(f"br label %{label}.test")
        self._lines.append(f"{label}.done:")

    def text(self, *, exported: bool = False, answer: str = "") -> str:
        """Return the finished function; `answer` is what it returns, if anything."""
        head = f"define {'' if exported else 'internal '}{self._result} @{self.name}"
        end = f"  ret {self._result} {answer}".rstrip()
        lines = [*self._rooms, *self._lines, end]
        parameters = ", ".join(self._parameters)
        body = "\n".join(lines)
        return f"{head}({parameters}) noinline {ATTRIBUTES} {{\nentry:\n{body}\n}}\n"


def splat(number: int) -> str:
    """Return the constant with `number` in every lane."""
    return f"splat (i64 {number})"


def constant(numbers: Sequence[int]) -> str:
    """Return the constant with one number for each lane."""
    return "<" + ", ".join(f"i64 {number}" for number in numbers) + ">"


def _amount(bits: int | str) -> str:
    return splat(bits) if isinstance(bits, int) else bits
