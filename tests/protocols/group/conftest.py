"""ristretto255 a second time, slowly and in plain integers, as RFC 9496 writes it.

It shares no code with the package and none with libsodium, so that agreement means
something. Internal representations are extended coordinates (x, y, z, t) on edwards25519.
"""

from hashlib import sha512

import pytest

from protocols.group.select import load_group

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
SQRT_M1 = 19681161376707505956807079304988542015446066515923890162744021073123829784752
SQRT_AD_MINUS_ONE = 25063068953384623474111414158702152701244531502492656460079210482610430750235
INVSQRT_A_MINUS_D = 54469307008909316920995813868745141605393597292927456921205312896311721017578
ONE_MINUS_D_SQ = 1159843021668779879193775521855586647937357759715417654439879720876111806838
D_MINUS_ONE_SQ = 40440834346308536858101042469323190826248399146238708352240133220865137265952

Point = tuple[int, int, int, int]
NEUTRAL = (0, 1, 1, 0)


def magnitude(value: int) -> int:
    """CT_ABS: the non-negative, that is even, one of a value and its negative."""
    value %= P
    return P - value if value & 1 else value


def sqrt_ratio_m1(u: int, v: int) -> tuple[bool, int]:
    """RFC 9496, section 4.2."""
    u, v = u % P, v % P
    r = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    check = v * r * r % P
    if check in {-u % P, -u * SQRT_M1 % P}:
        r = r * SQRT_M1 % P
    return check in {u, -u % P}, magnitude(r)


class Reference:
    """Bytes in, bytes out, like the package; one element at a time."""

    def decode(self, data: bytes) -> Point | None:
        """RFC 9496, section 4.3.1; None where decoding fails."""
        s = int.from_bytes(data, "little")
        if len(data) != 32 or s >= P or s & 1:
            return None
        u1, u2 = (1 - s * s) % P, (1 + s * s) % P
        v = (-(D * u1 * u1) - u2 * u2) % P
        was_square, invsqrt = sqrt_ratio_m1(1, v * u2 * u2)
        den_x = invsqrt * u2 % P
        x = magnitude(2 * s * den_x)
        y = u1 * invsqrt * den_x * v % P
        t = x * y % P
        return None if not was_square or t & 1 or y == 0 else (x, y, 1, t)

    def encode(self, point: Point) -> bytes:
        """RFC 9496, section 4.3.2."""
        x0, y0, z0, t0 = point
        u1, u2 = (z0 + y0) * (z0 - y0) % P, x0 * y0 % P
        _, invsqrt = sqrt_ratio_m1(1, u1 * u2 * u2)
        den1, den2 = invsqrt * u1 % P, invsqrt * u2 % P
        z_inv = den1 * den2 * t0 % P
        if t0 * z_inv % P & 1:
            x, y = y0 * SQRT_M1 % P, x0 * SQRT_M1 % P
            den_inv = den1 * INVSQRT_A_MINUS_D % P
        else:
            x, y, den_inv = x0, y0, den2
        if x * z_inv % P & 1:
            y = -y
        return magnitude(den_inv * (z0 - y)).to_bytes(32, "little")

    def plus(self, left: Point, right: Point) -> Point:
        """RFC 8032, section 5.1.4, complete addition."""
        x1, y1, z1, t1 = left
        x2, y2, z2, t2 = right
        a, b = (y1 - x1) * (y2 - x2), (y1 + x1) * (y2 + x2)
        c, d = 2 * D * t1 * t2, 2 * z1 * z2
        e, f, g, h = b - a, d - c, d + c, b + a
        return e * f % P, g * h % P, f * g % P, e * h % P

    def times(self, scalar: int, point: Point) -> Point:
        """Double and add."""
        total = NEUTRAL
        for bit in bin(scalar)[2:]:
            total = self.plus(total, total)
            if bit == "1":
                total = self.plus(total, point)
        return total

    def add(self, left: bytes, right: bytes) -> bytes:
        return self.encode(self.plus(self._known(left), self._known(right)))

    def multiply(self, scalar: int, element: bytes) -> bytes:
        return self.encode(self.times(scalar, self._known(element)))

    def map_to_group(self, uniform: bytes) -> bytes:
        """RFC 9496, section 4.3.4."""
        return self.encode(self.plus(self._map(uniform[:32]), self._map(uniform[32:])))

    def _map(self, data: bytes) -> Point:
        t = int.from_bytes(data, "little") % 2**255 % P
        r = SQRT_M1 * t * t % P
        u, v = (r + 1) * ONE_MINUS_D_SQ % P, (-1 - r * D) * (r + D) % P
        was_square, s = sqrt_ratio_m1(u, v)
        if not was_square:
            s = -magnitude(s * t) % P
        c = -1 if was_square else r
        n = (c * (r - 1) * D_MINUS_ONE_SQ - v) % P
        w0, w1, w2, w3 = 2 * s * v, n * SQRT_AD_MINUS_ONE, 1 - s * s, 1 + s * s
        return w0 * w3 % P, w2 * w1 % P, w1 * w3 % P, w0 * w2 % P

    def _known(self, data: bytes) -> Point:
        point = self.decode(data)
        assert point is not None
        return point


@pytest.fixture(scope="session")
def reference():
    return Reference()


@pytest.fixture(scope="session")
def group():
    return load_group()


@pytest.fixture(scope="session")
def some_elements(group):
    """300 elements: enough to be shared between threads."""
    return group.map_to_group(
        b"".join(sha512(bytes([i % 256, i // 256])).digest() for i in range(300))
    )


@pytest.fixture(scope="session")
def some_scalars(group):
    return group.reduce(
        b"".join(sha512(b"s" + bytes([i % 256, i // 256])).digest() for i in range(300))
    )
