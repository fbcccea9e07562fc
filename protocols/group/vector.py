"""ristretto255 eight elements at a time, for batches; libsodium for everything else.

The kernel is compiled once libsodium has worked about as long as compiling takes, which
is a third of a second, so that no command waits for what it hardly uses. It is tested
before it computes anything for real: against known answers and against libsodium. Where
it cannot be compiled or gives one wrong byte, libsodium serves this process to its end,
with the same results and errors.

The kernel runs in constant time where a scalar may be secret: no branch and no address
depends on a scalar or an element, only on the length of the batch. `weighted_sum`, whose
scalars are public by contract, is made of the same functions.
"""

from __future__ import annotations

from concurrent.futures import Future

from protocols.errors import ProtocolError, UnsupportedParameterError
from protocols.group.encoding import count_of, encode_scalar, refused_item, split_elements
from protocols.group.interface import ELEMENT_SIZE, IDENTITY, SCALAR_SIZE, UNIFORM_SIZE
from protocols.group.kernel.calls import (
    NO_OPERAND,
    Kernel,
    Operand,
    elements_operand,
    groups_of,
    same_operand,
    scalars_operand,
    uniform_operand,
)
from protocols.group.kernel.compiler import has_compiler
from protocols.group.kernel.ir import LANES
from protocols.group.selftest import verify_agreement, verify_backend
from protocols.group.sodium import Sodium, load_sodium

# One full eight; its cost, whether full or not, is that of two elements by libsodium.
SMALLEST_BATCH = LANES
# Batches of this many elements in all make the kernel worth compiling.
WORTH_COMPILING = 4096

_TESTED: dict[str, Future[Kernel | None]] = {}


class Vector:
    """The group as the kernel computes it, over libsodium."""

    def __init__(
        self,
        sodium: Sodium,
        workers: int,
        *,
        kernel: Kernel | None = None,
        smallest: int = SMALLEST_BATCH,
        worth_compiling: int = WORTH_COMPILING,
    ) -> None:
        self._sodium = sodium
        self._workers = max(1, workers)
        self._kernel = kernel
        self._smallest = smallest
        # Elements until the kernel is due; two threads that count at once only delay it.
        self._missing = worth_compiling

    @property
    def name(self) -> str:
        """The library for small batches, and the kernel once it is in use."""
        name = self._sodium.name
        return name if self._kernel is None else f"{name} with AVX-512 IFMA kernel"

    def check_elements(self, elements: bytes, subject: str) -> None:
        """Refuse anything but canonical non-identity elements."""
        count = count_of(elements, ELEMENT_SIZE, subject)
        kernel = self._kernel_for(count)
        if kernel is None:
            return self._sodium.check_elements(elements, subject)
        self._run(kernel, "check", count, elements_operand(elements), NO_OPERAND, subject=subject)
        return None

    def map_to_group(self, uniform: bytes) -> bytes:
        """Derive one element from each 64 uniform bytes."""
        count = count_of(uniform, UNIFORM_SIZE, "uniform bytes")
        kernel = self._kernel_for(count)
        if kernel is None:
            return self._sodium.map_to_group(uniform)
        operand = uniform_operand(uniform)
        return self._run(kernel, "map_uniform", count, operand, NO_OPERAND, subject="uniform bytes")

    def multiply(self, scalar: bytes, elements: bytes, subject: str) -> bytes:
        """Multiply every element by one scalar."""
        count = count_of(elements, ELEMENT_SIZE, subject)
        kernel = self._kernel_for(count)
        if kernel is None or len(scalar) != SCALAR_SIZE:
            return self._sodium.multiply(scalar, elements, subject)
        operands = elements_operand(elements), same_operand(scalar)
        return self._run(kernel, "multiply_points", count, *operands, subject=subject)

    def multiply_each(self, scalars: bytes, elements: bytes, subject: str) -> bytes:
        """Multiply every element by its own scalar."""
        count = count_of(elements, ELEMENT_SIZE, subject)
        kernel = self._kernel_for(count)
        if kernel is None or len(scalars) != len(elements):
            return self._sodium.multiply_each(scalars, elements, subject)
        operands = elements_operand(elements), scalars_operand(scalars)
        return self._run(kernel, "multiply_points", count, *operands, subject=subject)

    def multiply_base(self, scalars: bytes) -> bytes:
        """Multiply the generator by every scalar."""
        count = count_of(scalars, SCALAR_SIZE, "scalars")
        kernel = self._kernel_for(count)
        if kernel is None:
            return self._sodium.multiply_base(scalars)
        operands = kernel.base, scalars_operand(scalars)
        return self._run(kernel, "multiply_base", count, *operands, subject="scalars")

    def add(self, left: bytes, right: bytes) -> bytes:
        """Add two batches of elements."""
        count = count_of(right, ELEMENT_SIZE, "elements")
        kernel = self._kernel_for(count)
        if kernel is None or len(left) != len(right):
            return self._sodium.add(left, right)
        operands = elements_operand(left), elements_operand(right)
        return self._run(kernel, "add_points", count, *operands, subject="elements")

    def subtract(self, left: bytes, right: bytes) -> bytes:
        """Subtract two batches of elements."""
        count = count_of(right, ELEMENT_SIZE, "elements")
        kernel = self._kernel_for(count)
        if kernel is None or len(left) != len(right):
            return self._sodium.subtract(left, right)
        operands = elements_operand(left), elements_operand(right)
        return self._run(kernel, "subtract_points", count, *operands, subject="elements")

    def weighted_sum(self, scalars: bytes, elements: bytes, subject: str) -> bytes:
        """Add up all elements, each times its own scalar; for public scalars alone."""
        count = count_of(elements, ELEMENT_SIZE, subject)
        kernel = self._kernel_for(count)
        if kernel is None or len(scalars) != len(elements):
            return self._sodium.weighted_sum(scalars, elements, subject)
        parts, refused = kernel.weighted_sums(scalars, elements, self._workers)
        if refused is not None:
            raise refused_item(subject, refused)
        total = IDENTITY
        for part in split_elements(parts):
            total = self._sodium.add(total, part)
        filled = LANES * groups_of(count) - count
        if filled:
            surplus = self._sodium.multiply_base(encode_scalar(filled))
            total = self._sodium.subtract(total, surplus)
        return total

    def reduce(self, uniform: bytes) -> bytes:
        """Reduce every 64 bytes to a scalar."""
        return self._sodium.reduce(uniform)

    def scalar_add(self, left: bytes, right: bytes) -> bytes:
        """Add scalars."""
        return self._sodium.scalar_add(left, right)

    def scalar_subtract(self, left: bytes, right: bytes) -> bytes:
        """Subtract scalars."""
        return self._sodium.scalar_subtract(left, right)

    def scalar_multiply(self, left: bytes, right: bytes) -> bytes:
        """Multiply scalars."""
        return self._sodium.scalar_multiply(left, right)

    def invert(self, scalars: bytes) -> bytes:
        """Invert every scalar."""
        return self._sodium.invert(scalars)

    def _kernel_for(self, count: int) -> Kernel | None:
        """Return the kernel if it is there or due, sound, and this batch is worth it."""
        if count < self._smallest:
            return None
        if self._kernel is None:
            self._missing -= count
            if self._missing <= 0:
                self._kernel = sound_kernel(self._sodium)
        return self._kernel

    def _run(
        self, kernel: Kernel, name: str, count: int, left: Operand, right: Operand, *, subject: str
    ) -> bytes:
        result, refused = kernel.run(name, groups_of(count), left, right, self._workers)
        if refused is not None:
            raise refused_item(subject, refused)
        return result[: ELEMENT_SIZE * count]


def sound_kernel(sodium: Sodium) -> Kernel | None:
    """Return the kernel of this process, or nothing where it is not to be trusted.

    The first caller compiles and tests; the others wait. The outcome stands for good.
    """
    own: Future[Kernel | None] = Future()
    shared = _TESTED.setdefault(sodium.name, own)
    if shared is own:
        try:
            own.set_result(_compile_and_test(sodium))
        except BaseException as error:
            own.set_exception(error)
            raise
    return shared.result()


def load_vector(workers: int) -> Vector:
    """Load the backend; `workers` threads share a batch.

    Raises:
        UnsupportedParameterError: no compiler is installed, or libsodium is unusable.
    """
    if not has_compiler():
        raise UnsupportedParameterError("kernel: llvmlite is not installed")
    return Vector(load_sodium(workers), workers)


def _compile_and_test(sodium: Sodium) -> Kernel | None:
    try:
        kernel = Kernel()
        group = Vector(sodium, 1, smallest=1, kernel=kernel)
        verify_backend(group)
        verify_agreement(group, sodium)
    except (ProtocolError, OSError):
        return None
    return kernel
