"""When the kernel is compiled, when it is not, and that a wrong one is never used."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from protocols.errors import UnsupportedParameterError
from protocols.group import vector
from protocols.group.kernel import batch, coding, compiler, field, ladder, points
from protocols.group.select import BACKENDS
from protocols.group.sodium import load_sodium
from protocols.group.vector import Vector, load_vector, sound_kernel

# Constants of the generator that make wrong code, or none, once they are changed.
BROKEN = {
    "modulus": (field, "TWICE_PRIME", [2**52] * 5),
    "curve": (points, "CURVE_D", points.CURVE_D + 1),
    "root": (coding, "SQRT_M1", coding.SQRT_M1 + 1),
    "encoding": (coding, "INVSQRT_A_MINUS_D", coding.INVSQRT_A_MINUS_D + 1),
    "map": (coding, "D_MINUS_ONE_SQ", coding.D_MINUS_ONE_SQ + 1),
    "digits": (ladder, "EXCESS", 6),
    "table": (points, "TABLE_LENGTH", 7),
    "neutral": (batch, "NEUTRAL", (0, 1, 2, 0)),
    "instruction": (points, "ZERO", "nothing"),
    "processor": (compiler, "FEATURES", (*compiler.FEATURES, "no-such-feature")),
    "compiler": (compiler, "COMPILER", "no_such_compiler"),
}


@pytest.fixture
def machine():
    try:
        compiler.require_machine(compiler.load_compiler())
    except UnsupportedParameterError as error:
        pytest.skip(f"needs llvmlite and a processor with AVX-512 IFMA: {error}")


@pytest.fixture
def untested(machine, monkeypatch):
    """A process that has not compiled yet."""
    monkeypatch.setattr(vector, "_TESTED", {})


def test_sound_kernel_is_used_and_named(untested, some_elements, some_scalars):
    sodium = load_sodium(1)
    group = Vector(sodium, 1, worth_compiling=0)
    assert group.name == sodium.name
    found = group.multiply(some_scalars[:32], some_elements, "e")
    assert found == sodium.multiply(some_scalars[:32], some_elements, "e")
    assert group.name == f"{sodium.name} with AVX-512 IFMA kernel"


@pytest.mark.parametrize("part", BROKEN)
def test_broken_kernel_leaves_libsodium(untested, monkeypatch, some_elements, some_scalars, part):
    monkeypatch.setattr(*BROKEN[part])
    sodium = load_sodium(1)
    group = Vector(sodium, 1, worth_compiling=0)
    for _ in range(2):
        found = group.multiply(some_scalars[:32], some_elements, "e")
        assert found == sodium.multiply(some_scalars[:32], some_elements, "e")
    assert group.name == sodium.name
    # For good: the verdict outlives its cause.
    monkeypatch.undo()


def test_failure_stands_for_the_process(untested, monkeypatch):
    sodium = load_sodium(1)
    with monkeypatch.context() as patch:
        patch.setattr(*BROKEN["processor"])
        assert sound_kernel(sodium) is None
    assert sound_kernel(sodium) is None


def test_threads_share_one_compilation(untested):
    sodium = load_sodium(1)
    with ThreadPoolExecutor(4) as pool:
        kernels = set(pool.map(lambda _: sound_kernel(sodium), range(4)))
    assert len(kernels) == 1
    assert None not in kernels


def test_missing_compiler_is_named(monkeypatch):
    monkeypatch.setattr(compiler, "COMPILER", "no_such_compiler")
    with pytest.raises(UnsupportedParameterError, match="llvmlite is not installed"):
        load_vector(1)


def test_vector_stands_before_libsodium():
    assert list(BACKENDS) == [load_vector, load_sodium]


def run_alone(code, tmp_path):
    root = Path(__file__).parents[3]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    environment["PYTHONPATH"] = str(root)
    subprocess.run([sys.executable, "-B", "-c", code], cwd=tmp_path, env=environment, check=True)


LOADED = "from protocols.group.select import load_group; import sys; group = load_group()\n"


def test_compiler_is_loaded_once_it_pays(machine, tmp_path):
    run_alone(
        LOADED + "before = group.name\n"
        "for _ in range(31): group.map_to_group(bytes(range(64)) * 128)\n"
        "assert not [name for name in sys.modules if name.startswith('llvmlite')]\n"
        "group.map_to_group(bytes(range(64)) * 128)\n"
        "assert group.name == before + ' with AVX-512 IFMA kernel', group.name\n",
        tmp_path,
    )
    assert list(tmp_path.iterdir()) == []


def test_process_that_may_not_make_code_uses_libsodium(machine, tmp_path):
    # PR_SET_MDWE with PR_MDWE_REFUSE_EXEC_GAIN, since Linux 6.3: what a hardened service has.
    run_alone(
        "import ctypes\n"
        "locked = ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0\n" + LOADED + "name = group.name\n"
        "group.map_to_group(bytes(range(64)) * 8192)\n"
        "assert (group.name == name) == locked, group.name\n",
        tmp_path,
    )
