"""Call the compiled kernel: memory, padding to eights, threads, and which item failed.

A batch whose length is no multiple of eight is filled up with items that cannot fail.
One call works through a whole share of a batch without the interpreter's lock, so that
threads use the cores fully.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from protocols.errors import UnsupportedParameterError
from protocols.group.encoding import encode_scalar
from protocols.group.interface import ELEMENT_SIZE, GENERATOR
from protocols.group.kernel.batch import GROUP_SIZE
from protocols.group.kernel.compiler import compile_kernel
from protocols.group.kernel.ir import LANES
from protocols.group.kernel.ladder import BASE_TABLE_SIZE, DIGITS, SCRATCH_SIZE, SHARED
from protocols.group.kernel.points import POINT_SIZE, TABLE_LENGTH

ALIGNMENT = 64
# Fewer eights than this for each thread take less time than starting threads for them.
THREADED_GROUPS = 32

_ONE = encode_scalar(1)


class Memory:
    """Zeroed bytes at an address that a whole vector register can be stored to."""

    def __init__(self, size: int) -> None:
        self._buffer = ctypes.create_string_buffer(size + ALIGNMENT)
        self.address = -(-ctypes.addressof(self._buffer) // ALIGNMENT) * ALIGNMENT
        self._size = size

    def content(self) -> bytes:
        """Return a copy."""
        return ctypes.string_at(self.address, self._size)


class Operand:
    """One argument of a batch: where it lies, and how far apart its eights are (0: the same)."""

    def __init__(self, data: bytes | Memory, stride: int) -> None:
        self._data = data
        self.stride = stride
        if isinstance(data, Memory):
            self.address = data.address
        else:
            self.address = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0


def elements_operand(elements: bytes) -> Operand:
    """Fill a batch of elements up to eights; the generator is never refused."""
    return Operand(elements + GENERATOR * _missing(elements), GROUP_SIZE)


def scalars_operand(scalars: bytes) -> Operand:
    """Fill a batch of scalars up to eights with ones."""
    return Operand(scalars + _ONE * _missing(scalars), GROUP_SIZE)


def same_operand(item: bytes) -> Operand:
    """Give every element of a batch the same partner."""
    return Operand(item * LANES, 0)


def uniform_operand(uniform: bytes) -> Operand:
    """Fill a batch of 64-byte strings up to eights."""
    return Operand(uniform + bytes(-len(uniform) % (2 * GROUP_SIZE)), 2 * GROUP_SIZE)


NO_OPERAND = Operand(b"", 0)


class Kernel:
    """The compiled functions; every method works on whole batches."""

    def __init__(self) -> None:
        self._code = compile_kernel()
        self.base = Operand(self._base_table(), 0)

    def run(
        self, name: str, groups: int, left: Operand, right: Operand, workers: int
    ) -> tuple[bytes, int | None]:
        """Run an entry point; return its result and the first item that it refused."""
        out, failures = Memory(GROUP_SIZE * groups), Memory(groups)
        entry = self._code.entries[name]

        def walk(start: int, stop: int) -> None:
            entry(
                out.address + GROUP_SIZE * start,
                failures.address + start,
                left.address + left.stride * start,
                right.address + right.stride * start,
                stop - start,
                right.stride,
            )

        _share(groups, workers, walk)
        return out.content(), _first_set(failures.content())

    def weighted_sums(
        self, scalars: bytes, elements: bytes, workers: int
    ) -> tuple[bytes, int | None]:
        """Add up terms; return a few elements whose sum is the result, and what is refused.

        Eights are filled up with the generator once each; the caller takes these off.
        """
        count = groups_of(len(elements) // ELEMENT_SIZE)
        failures = Memory(count)
        points, weights = elements_operand(elements), scalars_operand(scalars)
        sums: list[bytes] = []

        def walk(start: int, stop: int) -> None:
            total, scratch, out = Memory(POINT_SIZE), Memory(SCRATCH_SIZE), Memory(GROUP_SIZE)
            self._code.entries["start"](total.address, 0, 0, 0, 0, 0)
            for at in range(start, stop, SHARED):
                self._code.entries["weigh"](
                    total.address,
                    failures.address + at,
                    points.address + GROUP_SIZE * at,
                    weights.address + GROUP_SIZE * at,
                    min(SHARED, stop - at),
                    scratch.address,
                )
            self._code.entries["finish"](out.address, 0, total.address, 0, 1, 0)
            sums.append(out.content())

        _share(count, workers, walk)
        return b"".join(sums), _first_set(failures.content())

    def _base_table(self) -> Memory:
        """Compute the multiples of the generator that `multiply_base` adds up."""
        multiples = b"".join(
            encode_scalar(number << 4 * row)
            for row in range(DIGITS)
            for number in range(1, TABLE_LENGTH + 1)
        )
        generators = elements_operand(GENERATOR * (DIGITS * LANES))
        scalars = scalars_operand(multiples)
        elements, refused = self.run("multiply_points", DIGITS, generators, scalars, 1)
        table, failures = Memory(BASE_TABLE_SIZE), Memory(DIGITS)
        given = elements_operand(elements)
        self._code.entries["fill_base"](
            table.address, failures.address, given.address, 0, DIGITS, 0
        )
        if refused is not None or any(failures.content()):
            raise UnsupportedParameterError("kernel: cannot compute multiples of the generator")
        return table


def groups_of(count: int) -> int:
    """Return how many eights hold `count` items."""
    return -(-count // LANES)


def _missing(data: bytes) -> int:
    """Return how many items of 32 bytes a batch lacks to eights."""
    return -(len(data) // ELEMENT_SIZE) % LANES


def _share(groups: int, workers: int, walk: Callable[[int, int], None]) -> None:
    """Walk over a batch on up to `workers` cores."""
    parts = max(1, min(workers, groups // THREADED_GROUPS))
    if parts == 1:
        walk(0, groups)
        return
    bounds = [groups * part // parts for part in range(parts + 1)]
    with ThreadPoolExecutor(parts) as pool:
        # The results are read so that an exception of a thread is not lost.
        list(pool.map(walk, bounds[:-1], bounds[1:]))


def _first_set(failures: bytes) -> int | None:
    """Return the number of the lowest bit that is set."""
    for index, bits in enumerate(failures):
        if bits:
            return LANES * index + (bits & -bits).bit_length() - 1
    return None
