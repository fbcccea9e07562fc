"""`lianfang bench load`: lookups at a steady rate for minutes, beside many connected nodes.

Every request is a blinded element of its own, signed when it is due and sent over mutual TLS
as a desk sends it; the hub decides, charges, asks a further holder, logs and answers. Of every
hundredth answer the receipt and both holders' proofs are checked. What a desk itself does is
left out: `lianfang bench lookup` measures that.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from clients.bench.arrivals import Arrived, Sent, send_all
from clients.bench.crowd import crowd
from clients.bench.lookup_town import LookupTown, lookup_town
from clients.bench.meters import measured, percentiles, resident_mb, surroundings
from clients.bench.people import made_up_numbers
from clients.keys import credentials, load_keys
from clients.lookup.api import HubApi
from clients.lookup.https import client_context
from clients.lookup.trust import Trust
from clients.node.home import Home
from clients.output import CommandError
from clients.versions import HEADERS
from compliance.clock import SystemClock
from protocols.group.select import load_group
from protocols.identifiers import IdentifierKind, canonicalize
from protocols.lookup.receipt import Reply, verify_receipt
from protocols.lookup.request import (
    CASE_SALT_SIZE,
    Purpose,
    SignedRequest,
    commit_case,
    sign_request,
)
from protocols.oprf import threshold
from protocols.oprf.client import random_blinds
from protocols.oprf.messages import REQUEST_ID_SIZE
from protocols.oprf.suite import Suite

TARGET_P99_MS = 150.0
# Memory is flat if it grows by no more than this between the first and the last tenth.
MOST_GROWTH = 0.05
_CHECK_EVERY = 100
_SEED = 17
_TENTHS = 10

Tell = Callable[[str], None]


def measure_load(*, rate: float, seconds: float, nodes: int, tell: Tell) -> dict[str, Any]:
    """Send lookups at `rate` a second for `seconds`, with `nodes` connected in all."""
    around = surroundings()
    count = int(rate * seconds)
    with tempfile.TemporaryDirectory(prefix="lianfang-bench-") as place:
        tell("bringing up hub and holders")
        with (
            lookup_town(Path(place), asked=count + 1, published=1) as town,
            crowd(town.town, nodes - len(town.pids), tell) as connected,
        ):
            figures = _Load(town, rate, seconds, tell).measure()
            return figures | {"nodes": len(town.pids) + connected, **around}


class _Load:
    """The requests of one run: made when they are due, some of them checked afterwards."""

    def __init__(self, town: LookupTown, rate: float, seconds: float, tell: Tell) -> None:
        self._town, self._rate, self._seconds, self._tell = town, rate, seconds, tell
        self._home = Home(town.asker)
        self._clock = SystemClock()
        self._trust = Trust(self._home)
        with HubApi(self._home.config().api, credentials(self._home.keys)) as api:
            self._manifest = self._trust.manifest(api, self._clock.now())
        self._suite = Suite(load_group())
        self._identity = load_keys(self._home.keys).identity
        people = made_up_numbers(int(rate * seconds), _SEED).to_list()
        self._inputs = [canonicalize(IdentifierKind.TW_NATIONAL_ID, value) for value in people]
        self._memory: dict[str, list[float]] = {role: [] for role in town.pids}

    def measure(self) -> dict[str, Any]:
        self._tell(f"{self._rate:g} lookups a second for {self._seconds:g} s")
        with measured(self._town.pids, "load", self._town.port) as usage:
            arrived = send_all(
                self._home.config().api,
                client_context(credentials(self._home.keys)),
                self._make,
                rate=self._rate,
                seconds=self._seconds,
                seed=_SEED,
                sample_every=_CHECK_EVERY,
                tick=self._look,
            )
        self._check(arrived)
        count = len(arrived.seconds)
        latency = percentiles(arrived.seconds)
        memory = {role: _memory(samples) for role, samples in self._memory.items()}
        flat = all(found["growth"] <= MOST_GROWTH for found in memory.values())
        return {
            "rate": self._rate,
            "seconds": self._seconds,
            "lookups": count,
            "answered": count - sum(arrived.refused.values()),
            "refused": arrived.refused,
            "checked": len(arrived.samples),
            "answer_ms": latency,
            "worst_ms": round(1e3 * max(arrived.seconds), 1),
            "p99_ms_by_tenth": _by_tenth(arrived),
            "connections": arrived.connections,
            "cpu_ms_per_lookup": {
                role: round(1e3 * value / count, 2) for role, value in usage.cpu_s.items()
            },
            "memory_mb": memory,
            "charged": self._town.used(),
            "met": not arrived.refused and latency["p99"] <= TARGET_P99_MS and flat,
        }

    def _make(self, number: int) -> Sent:
        record = self._manifest.record
        request_id = os.urandom(REQUEST_ID_SIZE)
        query = threshold.Query(
            self._suite, record, [self._inputs[number]],
            random_blinds(self._suite, 1, os.urandom), request_id,
        )  # fmt: skip
        request = sign_request(
            self._identity,
            hub=self._manifest.hub,
            asker=self._trust.name,
            purpose=Purpose.COUNTER,
            case=commit_case(f"load-{number}", os.urandom(CASE_SALT_SIZE)),
            asked_at=self._clock.now(),
            evaluation=query.request,
        )
        body = request.encode()
        return Sent(_head(self._home.config().api, request_id, len(body)), body, (query, request))

    def _look(self, _passed: float) -> None:
        for role, pid in self._town.pids.items():
            self._memory[role].append(resident_mb(pid))

    def _check(self, arrived: Arrived) -> None:
        for kept, body in arrived.samples:
            query, request = kept
            _check_answer(self._trust, query, request, Reply.decode(body))


def _check_answer(
    trust: Trust, query: threshold.Query, request: SignedRequest, reply: Reply
) -> None:
    """Check receipt and proofs as a desk does; raises what a desk would."""
    verify_receipt(trust.hub_identity, reply.receipt, request)
    for answer in reply.answers:
        query.receive(answer)
    if len(query.finish()) != 1:
        raise CommandError("load: an answer without an output")


def _head(address: str, request_id: bytes, length: int) -> bytes:
    lines = [
        "POST /v1/evaluations HTTP/1.1",
        f"Host: {address}",
        "Content-Type: application/vnd.lianfang.evaluation-request",
        f"Idempotency-Key: {request_id.hex()}",
        f"Content-Length: {length}",
        *(f"{name}: {value}" for name, value in HEADERS.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def _memory(samples: list[float]) -> dict[str, float]:
    """Return the resident memory in the second and the last tenth of the run, and its growth.

    The first tenth is warming up: caches and threads are made there.
    """
    size = max(1, len(samples) // _TENTHS)
    begin = float(np.median(samples[size : 2 * size] or samples))
    end = float(np.median(samples[-size:]))
    return {"begin": round(begin, 1), "end": round(end, 1), "growth": round(end / begin - 1, 4)}


def _by_tenth(arrived: Arrived) -> list[float]:
    due, seconds = np.array(arrived.due), np.array(arrived.seconds)
    edges = np.linspace(0.0, due.max() + 1e-9, _TENTHS + 1)
    at = np.digitize(due, edges) - 1
    return [
        round(1e3 * float(np.percentile(seconds[at == tenth], 99)), 1)
        for tenth in range(_TENTHS)
        if (at == tenth).any()
    ]


def load_text(figures: dict[str, Any]) -> str:
    """Put the figures in a few lines for people."""
    answer, cpu = figures["answer_ms"], figures["cpu_ms_per_lookup"]
    memory = ", ".join(
        f"{role} {found['begin']:.0f} to {found['end']:.0f} MB"
        for role, found in figures["memory_mb"].items()
    )
    return "\n".join(
        (
            f"{figures['answered']:,} of {figures['lookups']:,} lookups answered at "
            f"{figures['rate']:g} a second, {figures['nodes']} nodes connected",
            f"  answer   p50 {answer['p50']:7.2f} ms   p95 {answer['p95']:7.2f}   "
            f"p99 {answer['p99']:7.2f}   worst {figures['worst_ms']:.0f}   "
            f"(p99 of {TARGET_P99_MS:g} wanted: {'met' if figures['met'] else 'NOT met'})",
            "  p99 by tenth of the run: "
            + ", ".join(f"{v:.0f}" for v in figures["p99_ms_by_tenth"]),
            "  processor time a lookup: "
            + ", ".join(f"{role} {value:.1f} ms" for role, value in cpu.items()),
            f"  memory: {memory}",
            f"  {figures['checked']:,} answers checked: receipt and both proofs",
        )
    )
