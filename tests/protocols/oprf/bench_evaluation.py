"""Rates of each step against the bare library call, per processor second of one thread.

    python tests/protocols/oprf/bench_evaluation.py [elements] [rounds] [sodium|vector]

Rounds of all steps are interleaved, so that a busy neighbour hurts all alike; the median
of each is shown. The last line is a whole lookup at client and holders, without network
and snapshot. Not a test: nothing depends on the figures.
"""

import ctypes
import os
import statistics
import sys
import time

from protocols.group.library import load_sodium_library
from protocols.group.sodium import load_sodium
from protocols.group.vector import Vector, sound_kernel
from protocols.oprf import client, dleq, holder, threshold
from protocols.oprf.records import KeyRecord, KeyShare
from protocols.oprf.shares import split_secret
from protocols.oprf.suite import Suite


def bare_multiplications(scalar, elements, count):
    """The library's own function, called as tightly as Python can."""
    multiply = load_sodium_library().crypto_scalarmult_ristretto255
    multiply.argtypes = [ctypes.c_void_p] * 3
    out, given = ctypes.create_string_buffer(32 * count), ctypes.create_string_buffer(elements)
    key = ctypes.create_string_buffer(scalar)

    def run():
        there, here, secret = (ctypes.addressof(item) for item in (out, given, key))
        for at in range(0, 32 * count, 32):
            multiply(there + at, secret, here + at)

    return run


# How often each step is due in a lookup that two holders answer.
LOOKUP = {
    "draw blinds and blind (client)": 1,
    "evaluate and prove (one holder)": 2,
    "verify one holder (client)": 2,
    "combine 2 of 3, unblind, finish": 1,
}


def backend(name):
    sodium = load_sodium(workers=1)
    if name == "sodium":
        return sodium
    return Vector(sodium, 1, kernel=sound_kernel(sodium))


def steps_of(count, group):
    suite = Suite(group)
    key = holder.generate_key(suite, os.urandom)
    scalars = split_secret(group, key.scalar, threshold=2, holders=3, random=os.urandom)
    publics = tuple(group.multiply_base(scalar) for scalar in scalars)
    record = KeyRecord(1, 0, 2, ("hub", "police", "telecom"), key.public, publics)
    inputs = [b"input %09d" % i for i in range(count)]
    blinds = client.random_blinds(suite, count, os.urandom)
    query = threshold.Query(suite, record, inputs, blinds, bytes(16))
    blinded = query.request.blinded
    shares = [KeyShare(record, i, scalar) for i, scalar in enumerate(scalars, 1)]
    answers = [threshold.answer_request(suite, s, query.request, os.urandom) for s in shares[:2]]
    for answer in answers:
        query.receive(answer)

    def verify():
        threshold.Query.receive(fresh, answers[0])
        fresh._answers.clear()

    fresh = threshold.Query(suite, record, inputs, blinds, bytes(16))
    evaluated = holder.blind_evaluate(suite, key, blinded)
    return {
        "bare crypto_scalarmult_ristretto255": bare_multiplications(key.scalar, blinded, count),
        "evaluate (checked batch)": lambda: holder.blind_evaluate(suite, key, blinded),
        "evaluate and prove (one holder)": lambda: threshold.answer_request(
            suite, shares[0], query.request, os.urandom
        ),
        "prove alone": lambda: holder.prove_evaluation(
            suite, key, blinded, evaluated, random=os.urandom
        ),
        "draw blinds and blind (client)": lambda: client.blind(
            suite, inputs, client.random_blinds(suite, count, os.urandom)
        ),
        "verify one holder (client)": verify,
        "combine 2 of 3, unblind, finish": query.finish,
        "hash to group alone": lambda: suite.hash_to_group(inputs),
        "weights of a proof alone": lambda: dleq._weights(
            suite, key.public, blinded, evaluated, b""
        ),
        "weighted sum alone": lambda: group.weighted_sum(blinds, blinded, "e"),
        "combine alone": lambda: threshold.combine_scaled(
            group, {answer.index: answer.evaluated for answer in answers}
        ),
        "invert blinds alone": lambda: group.invert(blinds),
    }


def main(count=4096, rounds=5, library="vector"):
    group = backend(library)
    sys.stdout.write(f"{group.name}, {count} elements\n")
    steps = steps_of(count, group)
    rates = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            before = time.thread_time()
            step()
            rates[name].append(count / (time.thread_time() - before))
    bare = rates["bare crypto_scalarmult_ristretto255"]
    seconds = {}
    for name, found in rates.items():
        ratio = statistics.median(a / b for a, b in zip(found, bare, strict=True))
        rate = statistics.median(found)
        seconds[name] = 1e6 / rate
        sys.stdout.write(f"{name:38} {rate:9.0f}/s {1e6 / rate:7.2f} us  {ratio:7.1%} of bare\n")
    total = sum(times * seconds[name] for name, times in LOOKUP.items())
    sys.stdout.write(f"10^6 lookups by two holders: {total:.1f} processor seconds\n")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(*(int(item) for item in arguments[:2]), *arguments[2:])
