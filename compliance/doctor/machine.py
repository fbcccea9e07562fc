"""The machine under a hub or a node: Python, packages, disk, ports, files that only we may read.

Source:
    Who holds a port: proc(5), /proc/net/tcp and /proc/PID/fd of Linux.
"""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from compliance.doctor.seen import FAIL, PASS, WARN, Seen

LEAST_FREE_BYTES = 1 << 30
_AMPLE_FREE_BYTES = 5 << 30
_PYTHONS = ((3, 11), (3, 14))
_OTHERS = 0o077
_LISTEN = "0A"
_PROGRAM = "lianfang"
_SHOWN = 3


def python_fits() -> Seen:
    """Whether this Python is one that the project supports."""
    told = ".".join(map(str, sys.version_info[:3]))
    return Seen(PASS if _PYTHONS[0] <= sys.version_info[:2] < _PYTHONS[1] else FAIL, told)


def packages_fit(name: str = _PROGRAM) -> Seen:
    """Whether every package that the program needs is there, in a version that it was made for."""
    from packaging.requirements import Requirement  # noqa: PLC0415  for a doctor alone

    try:
        wanted = [Requirement(line) for line in requires(name) or []]
    except PackageNotFoundError:
        return Seen(WARN, f"{name} is not installed as a package, so its needs are not known")
    wrong, seen = [], 0
    for need in wanted:
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        seen += 1
        try:
            found = version(need.name)
        except PackageNotFoundError:
            wrong.append(f"{need.name} is missing")
            continue
        if not need.specifier.contains(found, prereleases=True):
            wrong.append(f"{need.name} {found} is not {need.specifier}")
    if wrong:
        return Seen(FAIL, "; ".join(wrong[:_SHOWN]))
    return Seen(PASS, f"{name} {version(name)}, {seen} packages")


def has_space(directory: Path) -> Seen:
    """Whether a gibibyte of disk is free; below five of them it is time to look."""
    free = shutil.disk_usage(directory).free
    level = FAIL if free < LEAST_FREE_BYTES else WARN if free < _AMPLE_FREE_BYTES else PASS
    return Seen(level, f"{free / (1 << 30):.1f} GiB free")


def torch_works() -> Seen:
    """Whether torch computes on this machine's processor, in the integers of secret sharing."""
    try:
        import torch  # noqa: PLC0415  torch loads slowly
    except ImportError as error:
        return Seen(FAIL, f"torch cannot be loaded ({type(error).__name__})")
    ones = torch.full((64, 64), 1 << 40, dtype=torch.int64)
    product = int((ones @ ones)[0, 0])
    told = f"torch {torch.__version__}, {torch.get_num_threads()} threads"
    # 64 * 2^80 wraps to 0 in 64 bits, which the ring needs; floats would not.
    return Seen(PASS if product == 0 else FAIL, told)


def closed_to_others(files: Iterable[Path]) -> Seen:
    """Whether none of these files, which there must be some of, can be read by other accounts."""
    found = sorted(files)
    open_ = [path for path in found if path.stat().st_mode & _OTHERS]
    if not found:
        return Seen(FAIL, "there are none")
    if open_:
        names = ", ".join(path.name for path in open_[:_SHOWN])
        return Seen(FAIL, f"{len(open_)} of {len(found)} are not: {names}")
    return Seen(PASS, f"{len(found)} files")


def ports_are_ours(host: str, ports: Mapping[str, int], *, served: bool) -> Seen:
    """Whether each port is free, or taken by our own program.

    Args:
        served: a hub of this directory is at work; its ports are taken, then.
    """
    taken: list[str] = []
    wrong: list[str] = []
    for name, port in ports.items():
        if is_free(host, port):
            continue
        holder = holder_of(port)
        # What cannot be named belongs to another account.
        told = f"{name} {port} is taken by {holder or 'a program of another account'}"
        (taken if served and (_is_python(holder) or not holder) else wrong).append(told)
    if wrong:
        return Seen(FAIL, "; ".join(wrong))
    if taken:
        return Seen(PASS, "served by this hub")
    return Seen(PASS, "free: " + ", ".join(f"{name} {port}" for name, port in ports.items()))


def is_free(host: str, port: int) -> bool:
    """Whether a program could listen there at this moment."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def holder_of(port: int) -> str:
    """Name the program that listens at a port, with its process; empty if it cannot be seen."""
    wanted = {f"socket:[{inode}]" for inode in _listening(port)}
    if not wanted:
        return ""
    for process in Path("/proc").glob("[0-9]*"):
        # Processes end while they are looked at, and those of others cannot be looked into.
        with suppress(OSError):
            if any(str(link.readlink()) in wanted for link in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
    return ""


def _listening(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _is_python(holder: str) -> bool:
    return holder.startswith(("python", _PROGRAM))
