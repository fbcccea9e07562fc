"""Choose the backend at start-up: the first that loads and passes its self-test.

Order is preference. The vector backend stands before libsodium: it needs a compiler that
is installed, and tests its kernel on this very processor before the first large batch;
until then, and for good where that fails, it is libsodium under another class. libsodium
is the reference and the last resort, so its failure is the caller's failure.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from protocols.errors import UnsupportedParameterError
from protocols.group.interface import Group
from protocols.group.selftest import verify_backend
from protocols.group.sodium import load_sodium
from protocols.group.vector import load_vector

Loader = Callable[[int], Group]

BACKENDS: tuple[Loader, ...] = (load_vector, load_sodium)
DEFAULT_WORKERS = 2


@functools.cache
def load_group(workers: int = DEFAULT_WORKERS) -> Group:
    """Return the backend of this process.

    Args:
        workers: threads that share one batch; the number of cores is a good choice.

    Raises:
        UnsupportedParameterError: none is usable; names the reason of each.
    """
    return choose_backend(BACKENDS, workers)


def choose_backend(loaders: Sequence[Loader], workers: int) -> Group:
    """Return the first backend that loads and passes its self-test.

    Raises:
        UnsupportedParameterError: none does; names the reason of each.
    """
    reasons: list[str] = []
    for load in loaders:
        try:
            group = load(workers)
            verify_backend(group)
        except (UnsupportedParameterError, OSError) as error:
            # OSError is what the dynamic loader raises for a file of another architecture.
            reasons.append(str(error))
        else:
            return group
    raise UnsupportedParameterError(
        f"group: no usable backend: {'; '.join(dict.fromkeys(reasons))}"
    )
