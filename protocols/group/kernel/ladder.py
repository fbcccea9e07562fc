"""Scalar multiplication, eight at a time: one window, the fixed base, many terms at once.

A scalar below 2^255 is written in 64 digits of base 16. Adding 8 to each of the lower 63
once, over all 256 bits, makes every one a plain half byte that is 8 too large; so digit i
is read off where it is needed and no carry runs from digit to digit:

    k = d_63 16^63 + ... + d_1 16 + d_0,    -8 <= d_i <= 7 for i < 63,    0 <= d_63 <= 8

What depends on a scalar stays within the lanes: every digit costs four doublings, one
look at all table entries and one complete addition.
"""

from __future__ import annotations

from protocols.group.kernel.coding import CodingCode
from protocols.group.kernel.field import ELEMENT, LIMBS, Limbs, known_limbs
from protocols.group.kernel.ir import LANES, VECTOR, ZERO, splat
from protocols.group.kernel.points import (
    CURVE_D,
    NEUTRAL,
    NEUTRAL_CACHED,
    POINT,
    POINT_SIZE,
    TABLE_LENGTH,
    PointCode,
    sign_and_size,
)

DIGITS = 64
DIGITS_PER_WORD = 16
EXCESS = 8
SCALAR_WORDS = 4
SCALAR_KIND = f"[{SCALAR_WORDS} x {VECTOR}]"
TABLE = f"[{TABLE_LENGTH} x {POINT}]"
# The affine multiples 1 to 8 of 16^i G lie across the lanes of three elements.
BASE_ROW = f"[3 x {ELEMENT}]"
BASE_TABLE_SIZE = DIGITS * 3 * LIMBS * 64
# Eights of terms that share their doublings; their tables should fit the second-level cache.
SHARED = 64
TERM = f"{{ {TABLE}, {SCALAR_KIND} }}"
TERM_SIZE = TABLE_LENGTH * POINT_SIZE + SCALAR_WORDS * 64
SCRATCH_SIZE = SHARED * TERM_SIZE

DECLARATIONS = (
    f"declare {VECTOR} @llvm.x86.avx512.permvar.di.512({VECTOR}, {VECTOR})\n"
    "declare i64 @llvm.umin.i64(i64, i64)\n"
)


def ladder_functions() -> list[str]:
    """Return the functions on scalars."""
    return [
        _recode(),
        _digit(),
        _ladder(),
        _base_row(),
        _pick_base(),
        _add_affine(),
        _base_ladder(),
        _sum_terms(),
    ]


def _recode() -> str:
    """Read eight scalars, drop bit 255 and add the excess; gives 1 where one was zero."""
    code = CodingCode("recode", "ptr %out", "ptr %data", result=VECTOR)
    words = code.read_words("%data", SCALAR_WORDS)
    words[-1] = code.both(words[-1], splat(2**63 - 1))
    every = code.either(code.either(words[0], words[1]), code.either(words[2], words[3]))
    excess = sum(EXCESS << 4 * i for i in range(DIGITS - 1))
    carry = ZERO
    for index, word in enumerate(words):
        part = excess >> 64 * index & 2**64 - 1
        # The carry joins first: the word is below 2^64 - 1 or the carry is zero or wraps.
        with_carry = code.add(word, carry)
        wrapped = code.compare("ult", with_carry, word)
        total = code.add(with_carry, splat(part))
        over = code.compare("ult", total, with_carry)
        carry = code.widen(code.mask_or(wrapped, over))
        code.store(total, code.field(SCALAR_KIND, "%out", 0, index))
    return code.text(answer=code.widen(code.compare("eq", every, ZERO)))


def _digit() -> str:
    """Return digit `index` of all eight scalars; only the index makes an address."""
    code = PointCode("digit", "ptr %scalars", "i64 %index", result=VECTOR)
    word = code.number("udiv", "%index", DIGITS_PER_WORD)
    offset = code.number("shl", code.number("urem", "%index", DIGITS_PER_WORD), 2)
    every = code.load(code.field(SCALAR_KIND, "%scalars", 0, word))
    half_byte = code.both(code.shift_right(every, _spread(code, offset)), splat(15))
    is_lower = code.value(f"icmp ult i64 %index, {DIGITS - 1}")
    excess = code.value(f"select i1 {is_lower}, i64 {EXCESS}, i64 0")
    return code.text(answer=code.subtract(half_byte, _spread(code, excess)))


def _spread(code: PointCode, number: str) -> str:
    """Return a vector with one integer in every lane."""
    first = code.value(f"insertelement {VECTOR} poison, i64 {number}, i64 0")
    lanes = f"<{LANES} x i32> {ZERO}"
    return code.value(f"shufflevector {VECTOR} {first}, {VECTOR} poison, {lanes}")


def _store_digit(code: PointCode, scalars: str, index: str) -> str:
    """Put a digit where `pick` reads it."""
    place = code.room(VECTOR)
    code.store(code.call("digit", f"ptr {scalars}", f"i64 {index}", result=VECTOR), place)
    return place


def _write_neutral(code: PointCode, point: str) -> None:
    for index, number in enumerate(NEUTRAL):
        code.write(known_limbs(number), code.coordinate(point, index))


def _four_doublings(code: PointCode, point: str) -> None:
    for _ in range(3):
        code.call("double", f"ptr {point}")
    code.call("double_extended", f"ptr {point}")


def _ladder() -> str:
    """Multiply a point, which is used up, by recoded scalars.

    A doubling reads no T, so only the last addition has to give one.
    """
    code = PointCode("ladder", "ptr %out", "ptr %point", "ptr %scalars")
    table, picked = code.room(TABLE), code.room(POINT)
    code.call("table", f"ptr {table}", "ptr %point")

    def add_digit(index: str, addition: str) -> None:
        digits = _store_digit(code, "%scalars", index)
        code.call("pick", f"ptr {picked}", f"ptr {table}", f"ptr {digits}")
        code.call(addition, "ptr %out", f"ptr {picked}")

    _write_neutral(code, "%out")
    add_digit(str(DIGITS - 1), "add_cached")
    with code.loop(DIGITS - 2) as counter:
        _four_doublings(code, "%out")
        add_digit(code.number("sub", str(DIGITS - 2), counter), "add_cached")
    _four_doublings(code, "%out")
    add_digit("0", "add_cached_extended")
    return code.text()


def _base_row() -> str:
    """Turn eight decoded points into one row of the fixed table, one point a lane."""
    code = PointCode("base_row", "ptr %row", "ptr %point")
    x, y, _, t = map(code.read, code.coordinates("%point"))
    scaled_t = code.product_of(t, known_limbs(2 * CURVE_D))
    for index, value in enumerate((code.sum_of(y, x), code.difference_of(y, x), scaled_t)):
        code.write(value, code.field(BASE_ROW, "%row", 0, index))
    return code.text()


def _pick_base() -> str:
    """Pick by digits from one row, which all lanes share.

    The row's eight entries lie in the lanes of one register, and a permutation of lanes
    brings each to where it is asked for, in the same time for any order.
    """
    code = PointCode("pick_base", "ptr %out", "ptr %row", "ptr %digits")
    below, size = sign_and_size(code, code.load("%digits"))
    order = code.subtract(size, splat(1))
    none = code.compare("eq", size, ZERO)

    def found(index: int) -> Limbs:
        entries = code.read(code.field(BASE_ROW, "%row", 0, index))
        moved = [
            code.value(
                f"call {VECTOR} @llvm.x86.avx512.permvar.di.512({VECTOR} {entry}, {VECTOR} {order})"
            )
            for entry in entries
        ]
        return code.choose(none, known_limbs(NEUTRAL_CACHED[index]), moved)

    plus, minus, scaled_t = found(0), found(1), found(2)
    negated = code.difference_of([ZERO] * LIMBS, scaled_t)
    signed = (
        code.choose(below, minus, plus),
        code.choose(below, plus, minus),
        code.choose(below, negated, scaled_t),
    )
    for index, value in enumerate(signed):
        code.write(value, code.field(BASE_ROW, "%out", 0, index))
    return code.text()


def _add_affine() -> str:
    """Add a picked point of the fixed table in place."""
    code = PointCode("add_affine", "ptr %point", "ptr %affine")
    x, y, z, t = map(code.read, code.coordinates("%point"))
    plus, minus, scaled_t = (code.read(code.field(BASE_ROW, "%affine", 0, i)) for i in range(3))
    a = code.product_of(code.difference_of(y, x), minus)
    b = code.product_of(code.sum_of(y, x), plus)
    c, d = code.product_of(t, scaled_t), code.sum_of(z, z)
    factors = (
        code.difference_of(b, a),
        code.difference_of(d, c),
        code.sum_of(d, c),
        code.sum_of(b, a),
    )
    code.write_finished("%point", factors, extended=True)
    return code.text()


def _base_ladder() -> str:
    """Multiply the generator by recoded scalars: one addition for each digit."""
    code = PointCode("base_ladder", "ptr %out", "ptr %rows", "ptr %scalars")
    picked = code.room(BASE_ROW)
    _write_neutral(code, "%out")
    with code.loop(DIGITS) as counter:
        digits = _store_digit(code, "%scalars", counter)
        row = code.field(BASE_ROW, "%rows", counter)
        code.call("pick_base", f"ptr {picked}", f"ptr {row}", f"ptr {digits}")
        code.call("add_affine", "ptr %out", f"ptr {picked}")
    return code.text()


def _sum_terms() -> str:
    """Add to `total`, lane by lane, all terms that lie ready in the scratch memory.

    The terms share their doublings (Straus 1964). In every lane of `total` the sum of that
    lane's terms arrives; the caller adds up the lanes.
    """
    code = PointCode("sum_terms", "ptr %total", "ptr %terms", "i64 %count")
    point, picked = code.known_point(NEUTRAL), code.room(POINT)
    with code.loop(DIGITS) as counter:
        index = code.number("sub", str(DIGITS - 1), counter)
        _four_doublings(code, point)
        with code.loop("%count") as term:
            table = code.field(TERM, "%terms", term)
            scalars = code.value(f"getelementptr {TERM}, ptr %terms, i64 {term}, i32 1")
            digits = _store_digit(code, scalars, index)
            code.call("pick", f"ptr {picked}", f"ptr {table}", f"ptr {digits}")
            code.call("add_cached_extended", f"ptr {point}", f"ptr {picked}")
    code.call("to_cached", f"ptr {picked}", f"ptr {point}")
    code.call("add_cached_extended", "ptr %total", f"ptr {picked}")
    return code.text()
