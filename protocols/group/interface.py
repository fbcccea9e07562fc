"""What the protocols ask of a prime-order group, whichever library computes it.

Elements and scalars are 32-byte strings in the canonical encodings of RFC 9496. A batch
is those strings end to end, so that a backend walks over one buffer without a Python
object per element. Scalars handed to a backend have passed `encoding`: canonical and,
unless a method says otherwise, not zero.

Specification: RFC 9496 (ristretto255).
"""

from __future__ import annotations

from typing import Protocol

ELEMENT_SIZE = 32
SCALAR_SIZE = 32
# RFC 9496, section 4.3.4 and 4.4: uniform input for one element or one scalar.
UNIFORM_SIZE = 64

# RFC 9496, section 4: the order l of the group.
ORDER = 2**252 + 27742317777372353535851937790883648493
IDENTITY = bytes(ELEMENT_SIZE)
# RFC 9496, appendix A.1, multiple 1.
GENERATOR = bytes.fromhex("e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76")


class Group(Protocol):
    """ristretto255. Every method over a batch keeps its order; an empty batch gives an empty one.

    Elements from outside are refused where they are first used: `multiply`,
    `multiply_each` and `check_elements` raise `MalformedMessageError` for a string that is
    not canonical, not on the curve or the identity (RFC 9497, section 4.1,
    DeserializeElement). `add`, `subtract` and `weighted_sum` may return the identity.

    Whatever depends on a scalar runs in constant time, except `weighted_sum`, which is for
    public scalars alone. Methods may be called from several threads at once.
    """

    @property
    def name(self) -> str:
        """Which library computes, for logs and reports."""

    def check_elements(self, elements: bytes, subject: str) -> None:
        """Refuse a batch that holds anything but canonical non-identity elements."""

    def map_to_group(self, uniform: bytes) -> bytes:
        """Derive one element from each 64 uniform bytes (RFC 9496, section 4.3.4)."""

    def multiply(self, scalar: bytes, elements: bytes, subject: str) -> bytes:
        """Multiply every element by one scalar."""

    def multiply_each(self, scalars: bytes, elements: bytes, subject: str) -> bytes:
        """Multiply every element by its own scalar."""

    def multiply_base(self, scalars: bytes) -> bytes:
        """Multiply the generator by every scalar."""

    def add(self, left: bytes, right: bytes) -> bytes:
        """Add two batches of elements, one by one."""

    def subtract(self, left: bytes, right: bytes) -> bytes:
        """Subtract two batches of elements, one by one."""

    def weighted_sum(self, scalars: bytes, elements: bytes, subject: str) -> bytes:
        """Add up all elements, each times its own public scalar; one element."""

    def reduce(self, uniform: bytes) -> bytes:
        """Reduce every 64 bytes to a scalar (RFC 9496, section 4.4); may give zero."""

    def scalar_add(self, left: bytes, right: bytes) -> bytes:
        """Add two batches of scalars, or one scalar to each of a batch; zero is allowed."""

    def scalar_subtract(self, left: bytes, right: bytes) -> bytes:
        """Subtract batches of scalars in the same way; zero is allowed."""

    def scalar_multiply(self, left: bytes, right: bytes) -> bytes:
        """Multiply batches of scalars in the same way; zero is allowed."""

    def invert(self, scalars: bytes) -> bytes:
        """Invert every scalar of a batch; zero is refused."""
