"""The entry points: each walks over a batch in eights.

All have one signature, so that one description serves every call:

    (out, failures, left, right, groups, extra)

    out        32 bytes for each item, or as the function says
    failures   one byte for each eight, bit i set if item i is refused
    left       elements, or uniform bytes
    right      elements or scalars, `extra` bytes apart from eight to eight (0: the same)
    groups     how many eights
"""

from __future__ import annotations

from protocols.group.kernel.coding import CodingCode
from protocols.group.kernel.field import ELEMENT
from protocols.group.kernel.ir import LANES, VECTOR
from protocols.group.kernel.ladder import BASE_ROW, SCALAR_KIND, SHARED, TERM
from protocols.group.kernel.points import NEUTRAL, POINT

PARAMETERS = (
    "ptr %out",
    "ptr %failures",
    "ptr %left",
    "ptr %right",
    "i64 %groups",
    "i64 %extra",
)
ENTRY_POINTS = (
    "check",
    "map_uniform",
    "multiply_points",
    "multiply_base",
    "fill_base",
    "add_points",
    "subtract_points",
    "start",
    "weigh",
    "finish",
)
GROUP_SIZE = 32 * LANES


class BatchCode(CodingCode):
    """An entry point."""

    def __init__(self, name: str) -> None:
        super().__init__(name, *PARAMETERS)

    def at(self, base: str, counter: str, size: int | str) -> str:
        """Return the address `counter * size` bytes after `base`."""
        return self.field("i8", base, self.number("mul", counter, size))

    def decoded(self, point: str, data: str) -> str:
        """Decode and return the mask of the lanes that did."""
        answer = self.call("decode", f"ptr {point}", f"ptr {data}", result=VECTOR)
        return self.is_set(answer)

    def encoded(self, data: str, point: str) -> str:
        """Encode and return the mask of the lanes that gave the identity."""
        answer = self.call("encode", f"ptr {data}", f"ptr {point}", result=VECTOR)
        return self.is_set(answer)

    def recoded(self, scalars: str, data: str) -> str:
        """Read scalars and return the mask of the lanes that were zero."""
        answer = self.call("recode", f"ptr {scalars}", f"ptr {data}", result=VECTOR)
        return self.is_set(answer)

    def refuse(self, mask: str, counter: str) -> None:
        """Report the lanes of the mask."""
        self.mask_bits(mask, self.at("%failures", counter, 1))


def batch_functions() -> list[str]:
    """Return all entry points."""
    functions = [_check(), _map_uniform(), _multiply_points(), _multiply_base(), _fill_base()]
    functions += [_combine("add_points", negated=False), _combine("subtract_points", negated=True)]
    return [*functions, _start(), _weigh(), _finish()]


def _check() -> str:
    """Refuse what does not decode to another element than the identity."""
    code = BatchCode("check")
    point = code.room(POINT)
    with code.loop("%groups") as counter:
        good = code.decoded(point, code.at("%left", counter, GROUP_SIZE))
        # The identity is the one encoding of s = 0, which decodes with x = 0.
        neutral = code.is_equal(code.coordinate(point, 0), code.known(0))
        code.refuse(code.mask_or(code.mask_not(good), neutral), counter)
    return code.text(exported=True)


def _map_uniform() -> str:
    """Map 64 bytes to an element: the sum of the maps of both halves (section 4.3.4)."""
    code = BatchCode("map_uniform")
    points, fields = [code.room(POINT), code.room(POINT)], code.room(ELEMENT)
    with code.loop("%groups") as counter:
        words = code.read_words(code.at("%left", counter, 2 * GROUP_SIZE), 8)
        for point, half in zip(points, (words[:4], words[4:]), strict=True):
            code.write(code.limbs_of(half), fields)
            code.call("map", f"ptr {point}", f"ptr {fields}")
        cached = code.room(POINT)
        code.call("to_cached", f"ptr {cached}", f"ptr {points[1]}")
        code.call("add_cached_extended", f"ptr {points[0]}", f"ptr {cached}")
        code.encoded(code.at("%out", counter, GROUP_SIZE), points[0])
    return code.text(exported=True)


def _multiply_points() -> str:
    """Multiply elements by scalars; refuse what does not decode or gives the identity."""
    code = BatchCode("multiply_points")
    point, result, scalars = code.room(POINT), code.room(POINT), code.room(SCALAR_KIND)
    with code.loop("%groups") as counter:
        good = code.decoded(point, code.at("%left", counter, GROUP_SIZE))
        code.recoded(scalars, code.at("%right", counter, "%extra"))
        code.call("ladder", f"ptr {result}", f"ptr {point}", f"ptr {scalars}")
        neutral = code.encoded(code.at("%out", counter, GROUP_SIZE), result)
        code.refuse(code.mask_or(code.mask_not(good), neutral), counter)
    return code.text(exported=True)


def _multiply_base() -> str:
    """Multiply the generator; `left` is the table that `fill_base` has written."""
    code = BatchCode("multiply_base")
    result, scalars = code.room(POINT), code.room(SCALAR_KIND)
    with code.loop("%groups") as counter:
        code.recoded(scalars, code.at("%right", counter, "%extra"))
        code.call("base_ladder", f"ptr {result}", "ptr %left", f"ptr {scalars}")
        code.refuse(code.encoded(code.at("%out", counter, GROUP_SIZE), result), counter)
    return code.text(exported=True)


def _fill_base() -> str:
    """Write the fixed table at `out` from the elements j 16^i G, j = 1 to 8, i = 0 to 63."""
    code = BatchCode("fill_base")
    point = code.room(POINT)
    with code.loop("%groups") as counter:
        good = code.decoded(point, code.at("%left", counter, GROUP_SIZE))
        row = code.field(BASE_ROW, "%out", counter)
        code.call("base_row", f"ptr {row}", f"ptr {point}")
        code.refuse(code.mask_not(good), counter)
    return code.text(exported=True)


def _combine(name: str, *, negated: bool) -> str:
    """Add or subtract; refuse what does not decode. The identity is allowed throughout."""
    code = BatchCode(name)
    points, cached = [code.room(POINT), code.room(POINT)], code.room(POINT)
    with code.loop("%groups") as counter:
        first = code.decoded(points[0], code.at("%left", counter, GROUP_SIZE))
        second = code.decoded(points[1], code.at("%right", counter, "%extra"))
        if negated:
            for index in (0, 3):
                address = code.coordinate(points[1], index)
                code.copy(code.negative(address), address)
        code.call("to_cached", f"ptr {cached}", f"ptr {points[1]}")
        code.call("add_cached_extended", f"ptr {points[0]}", f"ptr {cached}")
        code.encoded(code.at("%out", counter, GROUP_SIZE), points[0])
        code.refuse(code.mask_not(code.mask_and(first, second)), counter)
    return code.text(exported=True)


def _start() -> str:
    """Make the point at `out` neutral in all lanes: a sum of no terms."""
    code = BatchCode("start")
    neutral = code.known_point(NEUTRAL)
    for source, target in zip(code.coordinates(neutral), code.coordinates("%out"), strict=True):
        code.copy(source, target)
    return code.text(exported=True)


def _weigh() -> str:
    """Add up to 64 eights of terms to the point at `out`; `extra` is scratch memory.

    Refuses elements that do not decode or are the identity, and zero scalars.
    """
    code = BatchCode("weigh")
    point = code.room(POINT)
    terms = code.value("inttoptr i64 %extra to ptr")
    count = code.value(f"call i64 @llvm.umin.i64(i64 %groups, i64 {SHARED})")
    with code.loop(count) as counter:
        good = code.decoded(point, code.at("%left", counter, GROUP_SIZE))
        neutral = code.is_equal(code.coordinate(point, 0), code.known(0))
        table = code.field(TERM, terms, counter)
        scalars = code.value(f"getelementptr {TERM}, ptr {terms}, i64 {counter}, i32 1")
        zero = code.recoded(scalars, code.at("%right", counter, GROUP_SIZE))
        code.call("table", f"ptr {table}", f"ptr {point}")
        bad = code.mask_or(code.mask_or(code.mask_not(good), neutral), zero)
        code.refuse(bad, counter)
    code.call("sum_terms", "ptr %out", f"ptr {terms}", f"i64 {count}")
    return code.text(exported=True)


def _finish() -> str:
    """Encode the eight lanes of the point at `left`."""
    code = BatchCode("finish")
    code.encoded("%out", "%left")
    return code.text(exported=True)
