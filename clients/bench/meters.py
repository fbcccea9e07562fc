"""What processes use, as the kernel counts it: processor time, memory, bytes on the wire.

Everything is read from Linux's /proc and from the sockets themselves, so that measuring
costs next to nothing and changes no code that is measured.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# proc(5), stat: utime, stime, cutime and cstime, counted behind the command's name.
_TIMES = slice(11, 15)
_SAMPLE_S = 0.05
# linux/tcp.h, struct tcp_info: where tcpi_bytes_sent and tcpi_bytes_received stand.
_INFO_SIZE, _SENT_AT, _RECEIVED_AT = 208, 200, 128
_QUANTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0}


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process and of all below it, dead ones included."""
    fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    own = sum(int(item) for item in fields[_TIMES]) / _TICKS_PER_S
    children = [
        int(child)
        for thread in (_PROC / str(pid) / "task").iterdir()
        for child in (thread / "children").read_text().split()
    ]
    return own + sum(cpu_seconds(child) for child in children)


def peak_rss_mb(pid: int) -> float:
    """Return the most memory that a process had resident since `reset_peak`, maps included."""
    return _status_kb(pid, "VmHWM") / 1024


def resident_mb(pid: int) -> float:
    """Return the memory that a process has resident now, maps included."""
    return _status_kb(pid, "VmRSS") / 1024


def reset_peak(pid: int) -> None:
    """Let the peak begin anew (proc(5), clear_refs)."""
    (_PROC / str(pid) / "clear_refs").write_text("5")


def _status_kb(pid: int, name: str) -> int:
    lines = (_PROC / str(pid) / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Return p50, p95 and p99 in milliseconds."""
    found = np.percentile(np.array(seconds) * 1e3, list(_QUANTILES.values()))
    return {name: round(float(value), 2) for name, value in zip(_QUANTILES, found, strict=True)}


def surroundings() -> dict[str, Any]:
    """Return what a reader needs to judge figures by: cores, how busy they are, and when."""
    return {
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
        "measured_at": int(time.time()),
    }


class Wire:
    """Counts the bytes of this process's connections to one port of the loopback.

    They are those of TCP's payload: TLS and HTTP included, headers of TCP and IP not. A
    connection that opens and closes between two samples is missed.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._seen: dict[str, tuple[int, int]] = {}
        self._before: dict[str, tuple[int, int]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._sample()
        self._before = dict(self._seen)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()

    def counts(self) -> dict[str, int]:
        """Return the bytes sent and received inside the block."""
        known = [self._before.get(name, (0, 0)) for name in self._seen]
        pairs = list(zip(self._seen.values(), known, strict=True))
        up, down = (sum(now[at] - before[at] for now, before in pairs) for at in (0, 1))
        return {"up": up, "down": down}

    def _watch(self) -> None:
        while not self._stop.wait(_SAMPLE_S):
            self._sample()

    def _sample(self) -> None:
        for entry in (_PROC / "self" / "fd").iterdir():
            # Descriptors come and go while they are looked at.
            with suppress(OSError):
                name = str(entry.readlink())
                if name.startswith("socket:"):
                    self._look(name, os.dup(int(entry.name)))

    def _look(self, name: str, descriptor: int) -> None:
        with socket.socket(fileno=descriptor) as found:
            if found.type != socket.SOCK_STREAM or found.family != socket.AF_INET:
                return
            if found.getpeername()[1] == self._port:
                info = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_SIZE)
                (sent,) = struct.unpack_from("Q", info, _SENT_AT)
                (received,) = struct.unpack_from("Q", info, _RECEIVED_AT)
                self._seen[name] = sent, received


@dataclass(slots=True)
class Usage:
    """What a phase used: filled when its block ends."""

    wall_s: float = 0.0
    cpu_s: dict[str, float] = field(default_factory=dict)
    wire: dict[str, int] = field(default_factory=dict)

    @property
    def total_cpu_s(self) -> float:
        """Processor time of all roles together."""
        return sum(self.cpu_s.values())

    def fields(self) -> dict[str, Any]:
        """Return the figures for the report."""
        cpu = {name: round(value, 2) for name, value in self.cpu_s.items()}
        cpu["total"] = round(self.total_cpu_s, 2)
        return {"wall_s": round(self.wall_s, 2), "cpu_s": cpu, "bytes": self.wire}


@contextmanager
def measured(pids: Mapping[str, int], own: str, port: int) -> Iterator[Usage]:
    """Measure a block of this process's work and what it causes in others.

    Args:
        pids: the other processes, by role.
        own: the role that this process plays in the block.
        port: of the hub's API, whose bytes are counted.
    """
    usage = Usage()
    with Wire(port) as wire:
        before = {role: cpu_seconds(pid) for role, pid in pids.items()}
        wall, mine = time.monotonic(), time.process_time()
        yield usage
        usage.wall_s = time.monotonic() - wall
        usage.cpu_s = {own: time.process_time() - mine} | {
            role: cpu_seconds(pid) - before[role] for role, pid in pids.items()
        }
    usage.wire = wire.counts()
