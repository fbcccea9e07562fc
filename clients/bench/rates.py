"""Rates of evaluation against the bare library call, per processor second of one thread.

Rounds of all steps are interleaved, so that a busy neighbour hurts all alike; of each step
the median is told, and of its ratio to the bare call in the same round.
"""

from __future__ import annotations

import ctypes
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

from protocols.group.interface import ELEMENT_SIZE, Group
from protocols.group.library import load_sodium_library
from protocols.group.sodium import load_sodium
from protocols.group.vector import Vector, sound_kernel
from protocols.oprf import client, holder, threshold
from protocols.oprf.records import KeyRecord, KeyShare
from protocols.oprf.shares import split_secret
from protocols.oprf.suite import Suite

ELEMENTS = 2048
ROUNDS = 7
TARGET_RATIO = 0.90
BARE = "bare"
_HOLDERS = ("hub", "police", "telecom")

Step = Callable[[], object]


def measure_rates(elements: int = ELEMENTS, rounds: int = ROUNDS) -> dict[str, Any]:
    """Return evaluations a second for each library, and their ratios to the bare call."""
    steps: dict[str, Step] = {}
    names = {}
    for library, group in _groups().items():
        names[library] = group.name
        steps |= {f"{library} {name}": step for name, step in _steps(group, elements).items()}
    steps[BARE] = _bare(elements)
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            began = time.thread_time()
            step()
            rates[name].append(elements / (time.thread_time() - began))
    found: dict[str, Any] = {
        "elements": elements,
        "rounds": rounds,
        "bare_per_s": round(statistics.median(rates[BARE])),
    }
    for library, name in names.items():
        found[library] = {"name": name} | {
            step.removeprefix(f"{library} "): {
                "per_s": round(statistics.median(rates[step])),
                "of_bare": round(_ratio(rates[step], rates[BARE]), 3),
            }
            for step in steps
            if step.startswith(f"{library} ")
        }
    found["met"] = found["libsodium"]["evaluate"]["of_bare"] >= TARGET_RATIO
    return found


def _groups() -> dict[str, Group]:
    """Return libsodium, and the kernel where this processor has it; one thread each."""
    sodium = load_sodium(workers=1)
    kernel = sound_kernel(sodium)
    groups: dict[str, Group] = {"libsodium": sodium}
    return groups if kernel is None else groups | {"kernel": Vector(sodium, 1, kernel=kernel)}


def _steps(group: Group, elements: int) -> dict[str, Step]:
    suite = Suite(group)
    key = holder.generate_key(suite, os.urandom)
    scalars = split_secret(group, key.scalar, threshold=2, holders=3, random=os.urandom)
    publics = tuple(group.multiply_base(scalar) for scalar in scalars)
    record = KeyRecord(1, 0, 2, _HOLDERS, key.public, publics)
    inputs = [b"bench %09d" % number for number in range(elements)]
    blinds = client.random_blinds(suite, elements, os.urandom)
    request = threshold.Query(suite, record, inputs, blinds, bytes(16)).request
    share = KeyShare(record, 1, scalars[0])
    return {
        "evaluate": lambda: holder.blind_evaluate(suite, key, request.blinded),
        "evaluate_and_prove": lambda: threshold.answer_request(suite, share, request, os.urandom),
    }


def _bare(elements: int) -> Step:
    """Return the library's own function, called as tightly as Python can."""
    suite = Suite(load_sodium(workers=1))
    key = holder.generate_key(suite, os.urandom)
    points = suite.hash_to_group([b"bench %09d" % number for number in range(elements)])
    multiply = load_sodium_library().crypto_scalarmult_ristretto255
    multiply.argtypes = [ctypes.c_void_p] * 3
    size = ELEMENT_SIZE * elements
    out, given = ctypes.create_string_buffer(size), ctypes.create_string_buffer(points)
    secret = ctypes.create_string_buffer(key.scalar)

    def run() -> None:
        there, here, scalar = (ctypes.addressof(item) for item in (out, given, secret))
        for at in range(0, size, ELEMENT_SIZE):
            multiply(there + at, scalar, here + at)

    return run


def _ratio(rates: list[float], bare: list[float]) -> float:
    return statistics.median(rate / other for rate, other in zip(rates, bare, strict=True))
