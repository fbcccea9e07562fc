"""Writing files that survive a crash: whole or not at all, readable by their owner alone."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compliance.files import write_atomically

_PRIVATE = 0o600
_PRIVATE_DIRECTORY = 0o700


def make_private_directory(path: Path) -> Path:
    """Make a directory, with its parents, that only its owner may enter."""
    path.mkdir(mode=_PRIVATE_DIRECTORY, parents=True, exist_ok=True)
    return path


def store_json(path: Path, value: Any) -> None:
    """Replace a JSON file atomically and durably."""
    write_atomically(
        path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    )


def load_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Hold a directory alone, over reading and replacing a file in it; a killed process lets go."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def store_array(path: Path, values: NDArray[Any]) -> None:
    """Replace an array file atomically; large, so without waiting for the disk."""
    waiting = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(waiting, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE)
    with os.fdopen(descriptor, "wb") as file:
        np.save(file, values, allow_pickle=False)
    waiting.replace(path)


def load_array(path: Path) -> NDArray[Any]:
    """Read an array file."""
    return np.load(path, allow_pickle=False)  # type: ignore[no-any-return]  # numpy leaves it open
