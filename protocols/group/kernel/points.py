"""Points of edwards25519 in extended coordinates, eight at a time.

    extended    X, Y, Z, T        x = X / Z, y = Y / Z, T = X Y / Z
    cached      Y + X, Y - X, 2 d T, 2 Z      of a point that will be added again
    affine      y + x, y - x, 2 d x y         the same with Z = 1, for the fixed base

The addition is complete: it holds for equal points and for the neutral one, so that no
case has to be told apart.

Specification: Hisil, Wong, Carter, Dawson 2008, "Twisted Edwards Curves Revisited",
sections 3.1 (addition, k = 2 d) and 3.3 (doubling), with a = -1.
"""

from __future__ import annotations

from protocols.group.kernel.field import ELEMENT, LIMBS, PRIME, FieldCode, Limbs, known_limbs
from protocols.group.kernel.ir import ZERO, splat

POINT = f"[4 x {ELEMENT}]"
POINT_SIZE = 4 * LIMBS * 64
# RFC 8032, section 5.1.
CURVE_D = -121665 * pow(121666, -1, PRIME) % PRIME

NEUTRAL = (0, 1, 1, 0)
NEUTRAL_CACHED = (1, 1, 0, 2)
TABLE_LENGTH = 8


class PointCode(FieldCode):
    """A function that computes with points by their addresses."""

    def coordinate(self, point: str, index: int) -> str:
        """Return the address of one coordinate."""
        return self.field(POINT, point, 0, index)

    def coordinates(self, point: str) -> list[str]:
        """Return the addresses of all four."""
        return [self.coordinate(point, index) for index in range(4)]

    def known_point(self, numbers: tuple[int, ...]) -> str:
        """Return a room that holds constant coordinates."""
        point = self.room(POINT)
        for index, number in enumerate(numbers):
            self.write(known_limbs(number), self.coordinate(point, index))
        return point

    def copy(self, source: str, target: str) -> None:
        """Copy an element."""
        self.write(self.read(source), target)

    def write_finished(
        self, point: str, factors: tuple[Limbs, Limbs, Limbs, Limbs], *, extended: bool
    ) -> None:
        """Store E F, G H, F G and, unless the next step is a doubling, E H."""
        e, f, g, h = factors
        products = [(e, f), (g, h), (f, g), (e, h)]
        for index, (left, right) in enumerate(products[: 4 if extended else 3]):
            self.write(self.product_of(left, right), self.coordinate(point, index))


def point_functions() -> list[str]:
    """Return the functions on points."""
    return [
        _double("double", extended=False),
        _double("double_extended", extended=True),
        _add("add_cached", extended=False),
        _add("add_cached_extended", extended=True),
        _to_cached(),
        _table(),
        _pick(),
    ]


def _double(name: str, *, extended: bool) -> str:
    """Double in place, T of the argument unused.

    With E = 2 X Y, H = X^2 + Y^2, G = Y^2 - X^2 and F = 2 Z^2 - G, all four coordinates
    come out negated against the paper's, which is the same point.
    """
    code = PointCode(name, "ptr %point")
    x, y, z = (code.read(code.coordinate("%point", index)) for index in range(3))
    xx, yy, zz = code.square_of(x), code.square_of(y), code.square_of(z)
    e, h = code.product_of(x, y, doubled=True), code.sum_of(xx, yy)
    g = code.difference_of(yy, xx)
    f = code.difference_of(code.raw_sum(zz, zz), g)
    code.write_finished("%point", (e, f, g, h), extended=extended)
    return code.text()


def _add(name: str, *, extended: bool) -> str:
    """Add a cached point in place."""
    code = PointCode(name, "ptr %point", "ptr %cached")
    x, y, z, t = map(code.read, code.coordinates("%point"))
    plus, minus, scaled_t, twice_z = map(code.read, code.coordinates("%cached"))
    a = code.product_of(code.difference_of(y, x), minus)
    b = code.product_of(code.sum_of(y, x), plus)
    c, d = code.product_of(t, scaled_t), code.product_of(z, twice_z)
    factors = (
        code.difference_of(b, a),
        code.difference_of(d, c),
        code.sum_of(d, c),
        code.sum_of(b, a),
    )
    code.write_finished("%point", factors, extended=extended)
    return code.text()


def _to_cached() -> str:
    code = PointCode("to_cached", "ptr %out", "ptr %point")
    x, y, z, t = map(code.read, code.coordinates("%point"))
    scaled_t = code.product_of(t, known_limbs(2 * CURVE_D))
    values = (code.sum_of(y, x), code.difference_of(y, x), scaled_t, code.sum_of(z, z))
    for index, value in enumerate(values):
        code.write(value, code.coordinate("%out", index))
    return code.text()


def _table() -> str:
    """Fill a table with the cached multiples 1 to 8 of a point, which is used up."""
    code = PointCode("table", "ptr %table", "ptr %point")
    code.call("to_cached", "ptr %table", "ptr %point")
    with code.loop(TABLE_LENGTH - 1) as index:
        code.call("add_cached_extended", "ptr %point", "ptr %table")
        entry = code.field(POINT, "%table", code.number("add", index, 1))
        code.call("to_cached", f"ptr {entry}", "ptr %point")
    return code.text()


def _pick() -> str:
    """Pick from every lane's table the multiple that its digit, -8 to 8, asks for.

    All entries are read and all but one masked out, so that no address depends on a digit.
    """
    code = PointCode("pick", "ptr %out", "ptr %table", "ptr %digits")
    digits = code.load("%digits")
    below, size = sign_and_size(code, digits)
    found = [known_limbs(number) for number in NEUTRAL_CACHED]
    for number in range(1, TABLE_LENGTH + 1):
        here = code.compare("eq", size, splat(number))
        entry = code.field(POINT, "%table", number - 1)
        values = map(code.read, code.coordinates(entry))
        found = [code.choose(here, new, old) for new, old in zip(values, found, strict=True)]
    plus, minus, scaled_t, twice_z = found
    negated = code.difference_of([ZERO] * LIMBS, scaled_t)
    signed = (
        code.choose(below, minus, plus),
        code.choose(below, plus, minus),
        code.choose(below, negated, scaled_t),
        twice_z,
    )
    for index, value in enumerate(signed):
        code.write(value, code.coordinate("%out", index))
    return code.text()


def sign_and_size(code: FieldCode, digits: str) -> tuple[str, str]:
    """Return the mask of the negative lanes and the absolute values."""
    below = code.compare("slt", digits, ZERO)
    return below, code.select(below, code.subtract(ZERO, digits), digits)
