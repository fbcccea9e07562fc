"""Turn the generated functions into machine code, once for each process.

The compiler is LLVM inside the llvmlite wheel. It is loaded by the first batch that is
large enough and never by a command that computes no such batch; nothing is written to
disk. The code is made for a fixed set of processor features, so that every processor
that has them runs the same instructions.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from protocols.errors import UnsupportedParameterError
from protocols.group.kernel import field, ladder
from protocols.group.kernel.batch import ENTRY_POINTS, batch_functions
from protocols.group.kernel.coding import coding_functions
from protocols.group.kernel.points import point_functions

COMPILER = "llvmlite"
PROCESSOR = "x86-64-v4"
FEATURES = ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512ifma")
TRIPLE = "x86_64-unknown-linux-gnu"


@dataclass(frozen=True, slots=True)
class MachineCode:
    """The entry points, whose calls release the interpreter's lock; see `batch`.

    The engine owns the code and is kept here for as long as the entry points are.
    """

    engine: Any
    entries: Mapping[str, Callable[..., None]]


def kernel_source() -> str:
    """Return the whole module as LLVM IR."""
    functions = [
        *field.field_functions(),
        *point_functions(),
        *coding_functions(),
        *ladder.ladder_functions(),
        *batch_functions(),
    ]
    head = f'target triple = "{TRIPLE}"\n{field.DECLARATIONS}{ladder.DECLARATIONS}'
    return head + "\n".join(functions)


def has_compiler() -> bool:
    """Report whether the compiler is installed, without loading it."""
    return importlib.util.find_spec(COMPILER) is not None


def optimised_module(binding: Any) -> tuple[Any, Any]:
    """Return LLVM's module after its passes, and the target machine to emit it with."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    features = ",".join(f"+{name}" for name in FEATURES)
    target = binding.Target.from_triple(TRIPLE)
    machine = target.create_target_machine(cpu=PROCESSOR, features=features, opt=3)
    module = binding.parse_assembly(kernel_source())
    module.data_layout = str(machine.target_data)
    module.verify()
    builder = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options())
    passes = binding.create_new_module_pass_manager()
    passes.add_sroa_pass()
    passes.add_simplify_cfg_pass()
    passes.run(module, builder)
    return module, machine


def load_compiler() -> Any:
    """Import the compiler, typed as anything because it ships no types.

    Raises:
        UnsupportedParameterError: it is not installed or does not load.
    """
    try:
        return importlib.import_module(f"{COMPILER}.binding")
    except ImportError as error:
        raise UnsupportedParameterError(f"{COMPILER} does not load: {error}") from error


def compile_kernel() -> MachineCode:
    """Compile the kernel for this process.

    Raises:
        UnsupportedParameterError: no compiler, another processor or system than the code
            is for, or a process that may not make code.
    """
    binding = load_compiler()
    require_machine(binding)
    _require_executable_memory()
    try:
        module, machine = optimised_module(binding)
        engine = binding.create_mcjit_compiler(module, machine)
        engine.finalize_object()
    except RuntimeError as error:
        # All that LLVM complains of comes as this.
        raise UnsupportedParameterError(f"kernel: does not compile: {error}") from error
    pointers, numbers = [ctypes.c_void_p] * 4, [ctypes.c_int64] * 2
    prototype = ctypes.CFUNCTYPE(None, *pointers, *numbers)
    entries = {name: prototype(engine.get_function_address(name)) for name in ENTRY_POINTS}
    return MachineCode(engine, entries)


def require_machine(binding: Any) -> None:
    """Refuse a processor or system that could not run the code.

    Raises:
        UnsupportedParameterError: names what is missing.
    """
    triple = binding.get_process_triple()
    if not triple.startswith("x86_64-") or "-linux" not in triple:
        raise UnsupportedParameterError(f"kernel: made for 64-bit x86 Linux, not for {triple}")
    present = binding.get_host_cpu_features()
    missing = [name for name in FEATURES if not present.get(name)]
    if missing:
        raise UnsupportedParameterError(f"kernel: this processor has no {', '.join(missing)}")


def _require_executable_memory() -> None:
    """Try what the compiler will do: write a page, then make it executable.

    A hardened service (MemoryDenyWriteExecute, SELinux without execmem) is refused here,
    where LLVM would jump into memory without that permission and end the process.
    """
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    place = ctypes.c_char.from_buffer(page)
    protect = ctypes.CDLL(None).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    refused = protect(ctypes.addressof(place), mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC)
    del place  # releases the buffer, without which the page cannot be closed
    page.close()
    if refused:
        raise UnsupportedParameterError("kernel: this process may not make memory executable")
