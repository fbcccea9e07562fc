"""The generated code itself: exact arithmetic within its bounds, no way from lanes to branches.

The second part reads intermediate and machine code. It shows that in every function which
touches scalars or elements, lanes never reach a general register or the flags: conditional
jumps and addresses can only depend on arguments (addresses, lengths, counters). It cannot
show that the processor takes the same time for every operand of a multiplication, and it
holds for the compiler that is installed. It needs no processor with AVX-512.
"""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.group.kernel import compiler
from protocols.group.kernel.batch import ENTRY_POINTS
from protocols.group.kernel.field import BITS, LIMBS, PRIME, field_functions

LOOSEST = 2**BITS + 2**15 - 1
FUNCTIONS = {re.search(r"@(\w+)\(", text)[1]: text for text in field_functions()}

limbs = st.lists(
    st.sampled_from([0, 1, 2**BITS - 20, 2**BITS - 19, 2**BITS - 1, 2**BITS, LOOSEST])
    | st.integers(0, LOOSEST),
    min_size=LIMBS,
    max_size=LIMBS,
)


def value_of(numbers):
    return sum(number << BITS * i for i, number in enumerate(numbers))


class Lane:
    """Runs a function of the generator in one lane, and fails where a number would wrap."""

    def __init__(self, **memory):
        self.memory = {f"%{name}": dict(enumerate(item)) for name, item in memory.items()}
        self.values = {}

    def number(self, text):
        if text == "zeroinitializer":
            return 0
        constant = re.fullmatch(r"splat \(i64 (\d+)\)", text)
        return int(constant[1]) if constant else self.values[text]

    def run(self, text):
        for line in text.splitlines():
            if line.startswith("  "):
                answer = self.step(line.strip())
        return answer

    def step(self, line):
        line = line.replace("<8 x i64> ", "")
        if found := re.fullmatch(r"ret (\S+)", line):
            return None if found[1] == "void" else self.number(found[1])
        if found := re.fullmatch(r"store (.+), ptr (\S+), align 64", line):
            base, index = self.values[found[2]]
            self.memory.setdefault(base, {})[index] = self.number(found[1])
            return None
        name, instruction = line.split(" = ")
        self.values[name] = self.compute(instruction)
        return None

    def compute(self, instruction):
        if found := re.fullmatch(r"getelementptr .+, ptr (\S+), i64 0, i64 (\d)", instruction):
            return found[1], int(found[2])
        if found := re.fullmatch(r"load <8 x i64>, ptr (\S+), align 64", instruction):
            base, index = self.values[found[1]]
            return self.memory[base][index]
        if found := re.fullmatch(r"call .+vpmadd52(.)\.uq\.512\((.+), (.+), (.+)\)", instruction):
            total, left, right = (self.number(found[i]) for i in (2, 3, 4))
            assert max(left, right) < 2**52, "the multiplier reads 52 bits"
            product = left * right
            result = total + (product >> 52 if found[1] == "h" else product % 2**52)
        else:
            operation, rest = instruction.split(" ", 1)
            left, right = map(self.number, re.split(r", (?=%|splat|zero)", rest))
            result = {
                "add": lambda: left + right,
                "sub": lambda: left - right,
                "and": lambda: left & right,
                "or": lambda: left | right,
                "shl": lambda: left << right,
                "lshr": lambda: left >> right,
            }[operation]()
        assert 0 <= result < 2**64, f"{instruction} wraps"
        return result


def computed(name, **operands):
    lane = Lane(**operands)
    answer = lane.run(FUNCTIONS[name])
    return answer if answer is not None else list(lane.memory["%out"].values())


@given(limbs, limbs)
def test_arithmetic_is_exact_and_stays_loose(left, right):
    a, b = value_of(left), value_of(right)
    for name, expected in (("multiply", a * b), ("plus", a + b), ("minus", a - b)):
        found = computed(name, left=left, right=right)
        assert value_of(found) % PRIME == expected % PRIME
        assert max(found) <= LOOSEST
    found = computed("square", item=left)
    assert value_of(found) % PRIME == a * a % PRIME
    assert max(found) <= LOOSEST


@given(limbs)
def test_canonical_form_is_exact(item):
    value = value_of(item) % PRIME
    assert computed("is_odd", item=item) == value & 1
    assert (computed("bits", item=item) == 0) == (value == 0)


@pytest.mark.parametrize("number", [0, 1, PRIME - 1, PRIME, PRIME + 1, 2 * PRIME - 1])
def test_multiples_of_the_prime_are_zero(number):
    item = [number >> BITS * i & 2**BITS - 1 for i in range(LIMBS)]
    item[-1] += (number >> BITS * LIMBS) << BITS
    if max(item) <= LOOSEST:
        assert (computed("bits", item=item) == 0) == (number % PRIME == 0)


def test_source_branches_on_counters_alone():
    source = compiler.kernel_source()
    branches = re.findall(r"br i1 (%\w+),", source)
    compared = re.findall(r"(%\w+) = icmp ult i64 %v\d+, (?:%\w+|\d+)\n  br i1 \1,", source)
    assert len(branches) == len(compared) > 0
    # Nothing takes a lane out of a vector; only a mask becomes a byte, in an entry point.
    for instruction in ("extractelement", "ptrtoint", "gather", "scatter", "reduce.", "switch"):
        assert instruction not in source
    for text in re.split(r"\n(?=define)", source):
        if " internal " in text.split("\n")[0]:
            assert "to i8" not in text


@pytest.fixture(scope="module")
def machine_code():
    """The instructions of every function, by name."""
    try:
        binding = compiler.load_compiler()
    except compiler.UnsupportedParameterError as error:
        pytest.skip(f"needs llvmlite: {error}")
    module, machine = compiler.optimised_module(binding)
    functions, lines = {}, []
    for line in machine.emit_assembly(module).splitlines():
        if label := re.match(r"(\w+):", line):
            lines = functions.setdefault(label[1], [])
        elif re.match(r"\t[a-z]", line):
            lines.append(line.split("#")[0].strip())
    return functions


GENERAL = re.compile(r"%([re][abcd]x|[re][sd]i|[re]bp|[abcd]l|[sd]il|r\d+[dwb]?)\b")
LANES = re.compile(r"%([xyz]mm\d+|k[0-7])\b")


def operands_of(line):
    """The instruction and its operands in the order of AT&T syntax: the target comes last."""
    name, _, rest = line.partition("\t")
    return name, re.findall(r"(?:[^,(]|\([^)]*\))+", rest)


def inner(machine_code):
    """The functions that compute; entry points only loop over them and report refusals."""
    return {name: lines for name, lines in machine_code.items() if name not in ENTRY_POINTS}


def test_machine_code_has_the_functions_that_are_inspected(machine_code):
    names = set(inner(machine_code))
    assert {"ladder", "base_ladder", "sum_terms", "recode", "digit", "pick", "table"} <= names
    assert {"pick_base", "double", "add_cached", "add_affine", "decode", "encode", "map"} <= names


def test_lanes_never_reach_a_general_register_or_the_flags(machine_code):
    for function, lines in inner(machine_code).items():
        for line in lines:
            name, operands = operands_of(line)
            assert not re.match(r"k(or)?test|v?u?comis|vp?test[^nm]|.*gather|.*scatter", name), line
            if operands and any(LANES.search(operand) for operand in operands[:-1]):
                target = operands[-1].strip()
                assert not GENERAL.match(target), f"{function}: {line}"


def test_general_registers_are_read_from_their_own_spills_alone(machine_code):
    """A general register is loaded only from where one was stored, never from data."""
    for function, lines in inner(machine_code).items():
        stored, loaded = set(), {}
        for line in lines:
            name, operands = operands_of(line)
            if (
                LANES.search(line)
                or not operands
                or name.startswith(("j", "call", "lea", "prefetch"))
            ):
                continue
            *sources, target = (operand.strip() for operand in operands)
            if "(" in target:
                stored.add(target)
            loaded.update({source: line for source in sources if "(" in source})
        assert set(loaded) <= stored, f"{function}: {set(loaded) - stored}"


def test_conditional_jumps_follow_whole_number_comparisons(machine_code):
    for function, lines in inner(machine_code).items():
        for before, line in itertools.pairwise(lines):
            if re.match(r"j(?!mp)", line):
                assert re.match(r"(cmp|dec|inc|add|sub|test)[ql]", before), f"{function}: {before}"
                assert not LANES.search(before)
