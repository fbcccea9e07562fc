"""ristretto255 by libsodium: the reference backend.

Calls for a batch release the interpreter's lock, so that threads share it between the cores;
calls for a few elements keep it, since to be without it costs them more than they take.
libsodium checks encodings strictly and multiplies in constant
time; this file only walks over buffers and names the element that failed.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from protocols.errors import MalformedMessageError
from protocols.group.encoding import count_of, refused_item
from protocols.group.interface import ELEMENT_SIZE, IDENTITY, SCALAR_SIZE, UNIFORM_SIZE
from protocols.group.library import load_sodium_library

# Below this many elements a batch takes less time than starting threads for it.
THREADED_BATCH = 128
# An element takes 20 to 60 microseconds; a thread that gave the interpreter's lock away for
# that waits for another one to give it back, and both are switched by the system each time.
HELD_BATCH = 4
_ONE = (1).to_bytes(SCALAR_SIZE, "little")

Function = Callable[..., int]
Walk = Callable[[int, int], int | None]


class _Bound(NamedTuple):
    """One function of the library, called without the interpreter's lock or with it."""

    free: Function
    held: Function

    def serving(self, count: int) -> Function:
        """Return what is to be called for each element of a batch of this size."""
        return self.held if count <= HELD_BATCH else self.free


class Sodium:
    """The group as libsodium computes it."""

    def __init__(self, library: ctypes.CDLL, workers: int) -> None:
        self._workers = max(1, workers)
        version = bytes(library.sodium_version_string()).decode()
        self._name = f"libsodium {version}"
        core, product = "crypto_core_ristretto255", "crypto_scalarmult_ristretto255"
        self._is_valid = _bind(library, f"{core}_is_valid_point", 1)
        self._from_hash = _bind(library, f"{core}_from_hash", 2)
        self._add = _bind(library, f"{core}_add", 3)
        self._subtract = _bind(library, f"{core}_sub", 3)
        self._multiply = _bind(library, product, 3)
        self._multiply_base = _bind(library, f"{product}_base", 2)
        self._reduce = _bind(library, f"{core}_scalar_reduce", 2)
        self._scalar_add = _bind(library, f"{core}_scalar_add", 3)
        self._scalar_subtract = _bind(library, f"{core}_scalar_sub", 3)
        self._scalar_multiply = _bind(library, f"{core}_scalar_mul", 3)
        self._scalar_invert = _bind(library, f"{core}_scalar_invert", 2)

    @property
    def name(self) -> str:
        """The library and its version."""
        return self._name

    def check_elements(self, elements: bytes, subject: str) -> None:
        """Refuse anything but canonical non-identity elements."""
        count = count_of(elements, ELEMENT_SIZE, subject)
        base, valid = _address(elements), self._is_valid.serving(count)

        def walk(start: int, stop: int) -> int | None:
            for index in range(start, stop):
                at = ELEMENT_SIZE * index
                if valid(base + at) != 1 or elements[at : at + ELEMENT_SIZE] == IDENTITY:
                    return index
            return None

        self._share(count, walk, subject)

    def map_to_group(self, uniform: bytes) -> bytes:
        """Derive one element from each 64 uniform bytes."""
        return self._map(self._from_hash, uniform, UNIFORM_SIZE, "uniform bytes", threaded=True)

    def multiply(self, scalar: bytes, elements: bytes, subject: str) -> bytes:
        """Multiply every element by one scalar."""
        return self._zip(self._multiply, scalar, elements, subject, threaded=True)

    def multiply_each(self, scalars: bytes, elements: bytes, subject: str) -> bytes:
        """Multiply every element by its own scalar."""
        if len(scalars) != len(elements):
            raise ValueError("as many scalars as elements are needed")
        return self._zip(self._multiply, scalars, elements, subject, threaded=True)

    def multiply_base(self, scalars: bytes) -> bytes:
        """Multiply the generator by every scalar."""
        return self._map(self._multiply_base, scalars, SCALAR_SIZE, "scalars", threaded=True)

    def add(self, left: bytes, right: bytes) -> bytes:
        """Add two batches of elements."""
        return self._zip(self._add, left, right, "elements", threaded=True)

    def subtract(self, left: bytes, right: bytes) -> bytes:
        """Subtract two batches of elements."""
        return self._zip(self._subtract, left, right, "elements", threaded=True)

    def weighted_sum(self, scalars: bytes, elements: bytes, subject: str) -> bytes:
        """Add up all elements, each times its own scalar."""
        terms = self.multiply_each(scalars, elements, subject)
        count = len(terms) // ELEMENT_SIZE
        if count == 1:
            return terms
        parts: list[bytes] = []

        def walk(start: int, stop: int) -> int | None:
            total = ctypes.create_string_buffer(ELEMENT_SIZE)
            here, base = ctypes.addressof(total), _address(terms)
            add = self._add.serving(count)
            for index in range(start, stop):
                if add(here, here, base + ELEMENT_SIZE * index):
                    return index
            parts.append(total.raw)
            return None

        self._share(count, walk, subject)
        total = IDENTITY
        for part in parts:
            total = self.add(total, part)
        return total

    def reduce(self, uniform: bytes) -> bytes:
        """Reduce every 64 bytes to a scalar."""
        return self._map(self._reduce, uniform, UNIFORM_SIZE, "uniform bytes")

    def scalar_add(self, left: bytes, right: bytes) -> bytes:
        """Add scalars."""
        return self._zip(self._scalar_add, left, right, "scalars")

    def scalar_subtract(self, left: bytes, right: bytes) -> bytes:
        """Subtract scalars."""
        return self._zip(self._scalar_subtract, left, right, "scalars")

    def scalar_multiply(self, left: bytes, right: bytes) -> bytes:
        """Multiply scalars."""
        return self._zip(self._scalar_multiply, left, right, "scalars")

    def invert(self, scalars: bytes) -> bytes:
        """Invert every scalar with one inversion and three products each (Montgomery 1987)."""
        count = count_of(scalars, SCALAR_SIZE, "scalars")
        size, multiply = SCALAR_SIZE, self._scalar_multiply.serving(count)
        # running[i] is the product of the first i scalars; result[i] = running[i] / running[i + 1].
        running = ctypes.create_string_buffer(_ONE, size * (count + 1))
        result = ctypes.create_string_buffer(max(1, size * count))
        rest = ctypes.create_string_buffer(size)
        given, products = _address(scalars), ctypes.addressof(running)
        inverses, left = ctypes.addressof(result), ctypes.addressof(rest)
        for at in range(0, size * count, size):
            multiply(products + at + size, products + at, given + at)
        if self._scalar_invert.held(left, products + size * count):
            raise MalformedMessageError("scalars: zero has no inverse")
        for at in range(size * (count - 1), -1, -size):
            multiply(inverses + at, left, products + at)
            multiply(left, left, given + at)
        return result.raw[: size * count]

    def _map(
        self, bound: _Bound, data: bytes, size: int, subject: str, *, threaded: bool = False
    ) -> bytes:
        """Apply `function(out, item)` to every item of a batch."""
        count = count_of(data, size, subject)
        result = ctypes.create_string_buffer(max(1, ELEMENT_SIZE * count))
        out, base = ctypes.addressof(result), _address(data)
        function = bound.serving(count)

        def walk(start: int, stop: int) -> int | None:
            for index in range(start, stop):
                # The two void functions of libsodium return nothing here, which is no failure.
                if function(out + ELEMENT_SIZE * index, base + size * index):
                    return index
            return None

        self._share(count, walk, subject, threaded=threaded)
        return result.raw[: ELEMENT_SIZE * count]

    def _zip(
        self, bound: _Bound, left: bytes, right: bytes, subject: str, *, threaded: bool = False
    ) -> bytes:
        """Apply `function(out, left, right)` to pairs; a `left` of one item serves them all."""
        count = count_of(right, ELEMENT_SIZE, subject)
        if len(left) not in {ELEMENT_SIZE, len(right)}:
            raise ValueError("batches of different sizes")
        step = ELEMENT_SIZE if len(left) == len(right) else 0
        result = ctypes.create_string_buffer(max(1, ELEMENT_SIZE * count))
        out, first, second = ctypes.addressof(result), _address(left), _address(right)
        function = bound.serving(count)

        def walk(start: int, stop: int) -> int | None:
            for index in range(start, stop):
                at = ELEMENT_SIZE * index
                if function(out + at, first + step * index, second + at):
                    return index
            return None

        self._share(count, walk, subject, threaded=threaded)
        return result.raw[: ELEMENT_SIZE * count]

    def _share(self, count: int, walk: Walk, subject: str, *, threaded: bool = True) -> None:
        """Walk over a batch on all cores; refuse it by its first failing item."""
        if not threaded or count < THREADED_BATCH or self._workers == 1:
            failures = [walk(0, count)]
        else:
            bounds = [count * part // self._workers for part in range(self._workers + 1)]
            with ThreadPoolExecutor(self._workers) as pool:
                failures = list(pool.map(walk, bounds[:-1], bounds[1:]))
        failed = [index for index in failures if index is not None]
        if failed:
            raise refused_item(subject, min(failed))


def load_sodium(workers: int) -> Sodium:
    """Load the backend; `workers` threads share a batch."""
    return Sodium(load_sodium_library(), workers)


def _bind(library: ctypes.CDLL, name: str, arguments: int) -> _Bound:
    handle = library._handle  # noqa: SLF001  # the same library once more, not loaded again
    keeping = ctypes.PyDLL(None, handle=handle)
    free, held = library[name], keeping[name]
    for function in (free, held):
        function.argtypes = [ctypes.c_void_p] * arguments
        function.restype = None if name.endswith(_VOID) else ctypes.c_int
    return _Bound(free, held)


# libsodium declares these without a result; reading one would read a leftover register.
_VOID = ("_scalar_reduce", "_scalar_add", "_scalar_sub", "_scalar_mul")


def _address(data: bytes) -> int:
    """Return where the bytes lie; valid while the caller holds them."""
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
