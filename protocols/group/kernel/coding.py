"""Bytes to points and back, and the map from uniform bytes, eight at a time.

A batch holds its items end to end. Eight of them are read as one long vector of 64-bit
words and dealt out, so that word k of every item comes to lie in one register.

Specification: RFC 9496, sections 4.2 and 4.3.
"""

from __future__ import annotations

from protocols.group.kernel.field import BITS, ELEMENT, LOW, PRIME, Limbs
from protocols.group.kernel.ir import LANES, VECTOR, ZERO, splat
from protocols.group.kernel.points import CURVE_D, PointCode

WORD_BITS = 64
# RFC 9496, section 4.1.
SQRT_M1 = 19681161376707505956807079304988542015446066515923890162744021073123829784752
SQRT_AD_MINUS_ONE = 25063068953384623474111414158702152701244531502492656460079210482610430750235
INVSQRT_A_MINUS_D = 54469307008909316920995813868745141605393597292927456921205312896311721017578
ONE_MINUS_D_SQ = (1 - CURVE_D**2) % PRIME
D_MINUS_ONE_SQ = (CURVE_D - 1) ** 2 % PRIME


class CodingCode(PointCode):
    """A function that reads or writes encodings."""

    def read_words(self, address: str, count: int) -> list[str]:
        """Read eight items of `count` words each; return one vector for each word."""
        total = LANES * count
        items = self.load(address, f"<{total} x i64>", 1)
        return [
            self._shuffle(total, items, items, range(word, total, count)) for word in range(count)
        ]

    def write_words(self, words: list[str], address: str) -> None:
        """Write eight items of four words each."""
        first = self._shuffle(LANES, words[0], words[1], range(2 * LANES))
        second = self._shuffle(LANES, words[2], words[3], range(2 * LANES))
        order = [LANES * word + lane for lane in range(LANES) for word in range(4)]
        items = self._shuffle(2 * LANES, first, second, order)
        self.store(items, address, f"<{4 * LANES} x i64>", 1)

    def limbs_of(self, words: list[str]) -> Limbs:
        """Cut 256 bits into limbs; the highest bit is dropped."""
        limbs = []
        for at in range(0, 5 * BITS, BITS):
            word, offset = divmod(at, WORD_BITS)
            limb = self.shift_right(words[word], offset)
            if offset + BITS > WORD_BITS:
                upper = self.shift_left(words[word + 1], WORD_BITS - offset)
                limb = self.either(limb, upper)
            limbs.append(self.both(limb, splat(LOW)))
        return limbs

    def words_of(self, limbs: Limbs) -> list[str]:
        """Join canonical limbs to words."""
        words = []
        for word in range(4):
            first, offset = divmod(WORD_BITS * word, BITS)
            lower = self.shift_right(limbs[first], offset)
            upper = self.shift_left(limbs[first + 1], BITS - offset)
            words.append(self.either(lower, upper))
        return words

    def root_of_ratio(self, u: str, v: str) -> tuple[str, str]:
        """SQRT_RATIO_M1: return the mask of `was_square` and the address of the root."""
        root = self.room(ELEMENT)
        arguments = (f"ptr {item}" for item in (root, u, v))
        return self.is_set(self.call("root_of_ratio", *arguments, result=VECTOR)), root

    def _shuffle(self, length: int, left: str, right: str, order: range | list[int]) -> str:
        lanes = ", ".join(f"i32 {lane}" for lane in order)
        kind = f"<{length} x i64>"
        mask = f"<{len(order)} x i32> <{lanes}>"
        return self.value(f"shufflevector {kind} {left}, {kind} {right}, {mask}")


def coding_functions() -> list[str]:
    """Return power, root_of_ratio, decode, encode and map."""
    return [_square_often(), _power(), _root_of_ratio(), _decode(), _encode(), _map()]


def _square_often() -> str:
    """Square again and again; a room of its own lets the element stay in registers."""
    code = PointCode("square_often", "ptr %out", "ptr %item", "i64 %times")
    power = code.room(ELEMENT)
    code.copy("%item", power)
    with code.loop("%times"):
        code.write(code.square_of(code.read(power)), power)
    code.copy(power, "%out")
    return code.text()


def _power() -> str:
    """Raise to (p - 5) / 8 = 2^252 - 3: write n for x^(2^n - 1) and double n as one goes."""
    code = PointCode("power", "ptr %out", "ptr %item")

    def squared(item: str, times: int) -> str:
        result = code.room(ELEMENT)
        code.call("square_often", f"ptr {result}", f"ptr {item}", f"i64 {times}")
        return result

    def joined(item: str, upper: str, bits: int) -> str:
        """x^(2^(n + bits) - 1) from x^(2^n - 1) as `upper` and x^(2^bits - 1) as `item`."""
        return code.product(squared(upper, bits), item)

    ones = {1: "%item"}
    for lower, upper in ((1, 1), (1, 2), (2, 3), (5, 5), (10, 10), (5, 20), (25, 25), (50, 50)):
        ones[lower + upper] = joined(ones[lower], ones[upper], lower)
    ones[125] = joined(ones[25], ones[100], 25)
    ones[250] = joined(ones[125], ones[125], 125)
    code.call("multiply", "ptr %out", f"ptr {squared(ones[250], 2)}", "ptr %item")
    return code.text()


def _root_of_ratio() -> str:
    """RFC 9496, section 4.2; gives 1 where u / v is a square and the root beside."""
    code = CodingCode("root_of_ratio", "ptr %out", "ptr %u", "ptr %v", result=VECTOR)
    v3 = code.product(code.square("%v"), "%v")
    v7 = code.product(code.square(v3), "%v")
    power = code.room(ELEMENT)
    code.call("power", f"ptr {power}", f"ptr {code.product('%u', v7)}")
    r = code.product(code.product("%u", v3), power)
    check = code.product("%v", code.square(r))
    minus_u, root = code.negative("%u"), code.known(SQRT_M1)
    correct = code.is_equal(check, "%u")
    flipped = code.is_equal(check, minus_u)
    flipped_i = code.is_equal(check, code.product(minus_u, root))
    r = code.chosen(code.mask_or(flipped, flipped_i), code.product(r, root), r)
    code.copy(code.absolute(r), "%out")
    return code.text(answer=code.widen(code.mask_or(correct, flipped)))


def _decode() -> str:
    """RFC 9496, section 4.3.1: strict; gives 1 where the eight items at `data` decode."""
    code = CodingCode("decode", "ptr %point", "ptr %data", result=VECTOR)
    words = code.read_words("%data", 4)
    limbs = code.limbs_of(words)
    # (1) Canonical: rewritten from the value modulo p, the bytes are the same. Not negative.
    again = code.words_of(code.canonical(limbs))
    same = [code.compare("eq", word, other) for word, other in zip(words, again, strict=True)]
    good = code.compare("eq", code.both(words[0], splat(1)), ZERO)
    for mask in same:
        good = code.mask_and(good, mask)
    s, one = code.room(ELEMENT), code.known(1)
    code.write(limbs, s)
    # (2) to (5), with the names of the RFC.
    ss = code.square(s)
    u1, u2 = code.difference(one, ss), code.sum(one, ss)
    u2_sqr = code.square(u2)
    scaled = code.product(code.known(CURVE_D), code.square(u1))
    v = code.difference(code.negative(scaled), u2_sqr)
    was_square, invsqrt = code.root_of_ratio(one, code.product(v, u2_sqr))
    den_x = code.product(invsqrt, u2)
    den_y = code.product(code.product(invsqrt, den_x), v)
    x = code.absolute(code.product(code.sum(s, s), den_x))
    y = code.product(u1, den_y)
    t = code.product(x, y)
    for index, value in enumerate((x, y, one, t)):
        code.copy(value, code.coordinate("%point", index))
    good = code.mask_and(good, was_square)
    bad = code.mask_or(code.is_odd(t), code.is_equal(y, code.known(0)))
    return code.text(answer=code.widen(code.mask_and(good, code.mask_not(bad))))


def _encode() -> str:
    """RFC 9496, section 4.3.2; gives 1 where the element is the identity."""
    code = CodingCode("encode", "ptr %data", "ptr %point", result=VECTOR)
    x0, y0, z0, t0 = code.coordinates("%point")
    u1 = code.product(code.sum(z0, y0), code.difference(z0, y0))
    u2 = code.product(x0, y0)
    _, invsqrt = code.root_of_ratio(code.known(1), code.product(u1, code.square(u2)))
    den1, den2 = code.product(invsqrt, u1), code.product(invsqrt, u2)
    z_inv = code.product(code.product(den1, den2), t0)
    root = code.known(SQRT_M1)
    rotate = code.is_odd(code.product(t0, z_inv))
    x = code.chosen(rotate, code.product(y0, root), x0)
    y = code.chosen(rotate, code.product(x0, root), y0)
    enchanted = code.product(den1, code.known(INVSQRT_A_MINUS_D))
    den_inv = code.chosen(rotate, enchanted, den2)
    y = code.chosen(code.is_odd(code.product(x, z_inv)), code.negative(y), y)
    s = code.absolute(code.product(den_inv, code.difference(z0, y)))
    words = code.words_of(code.canonical(code.read(s)))
    code.write_words(words, "%data")
    every = code.either(code.either(words[0], words[1]), code.either(words[2], words[3]))
    return code.text(answer=code.widen(code.compare("eq", every, ZERO)))


def _map() -> str:
    """RFC 9496, section 4.3.4, MAP, of one field element."""
    code = CodingCode("map", "ptr %point", "ptr %t")
    one, minus_one, d = code.known(1), code.known(-1), code.known(CURVE_D)
    r = code.product(code.known(SQRT_M1), code.square("%t"))
    u = code.product(code.sum(r, one), code.known(ONE_MINUS_D_SQ))
    v = code.product(code.difference(minus_one, code.product(r, d)), code.sum(r, d))
    was_square, s = code.root_of_ratio(u, v)
    s_prime = code.negative(code.absolute(code.product(s, "%t")))
    s = code.chosen(was_square, s, s_prime)
    c = code.chosen(was_square, minus_one, r)
    n = code.product(code.product(c, code.difference(r, one)), code.known(D_MINUS_ONE_SQ))
    n = code.difference(n, v)
    sv, ss = code.product(s, v), code.square(s)
    w0, w1 = code.sum(sv, sv), code.product(n, code.known(SQRT_AD_MINUS_ONE))
    w2, w3 = code.difference(one, ss), code.sum(one, ss)
    for index, (left, right) in enumerate(((w0, w3), (w2, w1), (w1, w3), (w0, w2))):
        address = code.coordinate("%point", index)
        code.call("multiply", f"ptr {address}", f"ptr {left}", f"ptr {right}")
    return code.text()
