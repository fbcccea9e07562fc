"""Starts launchers by forking a process that has loaded their modules already.

Flower starts one program for every message. Loading Flower, the policies and torch takes
longer than most phases take to run, at every partner and for every phase. The fork server
loads them once: before there is any thread or connection in it, and without the libraries
whose threads do not survive a fork (polars). What it forks does what the program on the
path would have done; where the server is gone, that program is started instead.

    SuperExec -> fork server   the arguments of one program, over a socket pair
    fork server -> launcher    fork

The server holds no secret and reads nothing but its socket; a launcher's token is in no
command line. It ends with the process that started it.

Source:
    POSIX.1-2024, fork(): only the calling thread exists in the child.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

# What accepting a plan needs, loaded at the start: a node may wait for days for its first run.
FIRST = ("clients.node.launcher", "clients.node.phases.acceptance")
# What the later phases need: loaded while the first one is at work.
LATER = ("clients.node.phases.training",)
MAX_ARGUMENTS_BYTES = 1 << 16

_PARENT = "--parent-pid"


class ForkServer:
    """A process that starts launchers; `start` it before this one has a thread.

    Args:
        launcher: arguments to Python for the program: `-m MODULE` (its `main` is called),
            `-c CODE`, or a path.
    """

    def __init__(self, launcher: Sequence[str]) -> None:
        self._launcher = tuple(launcher)
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Fork the server; in the forked processes this call does not return."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork() == 0:
            ours.close()
            _serve(theirs, self._launcher)
            sys.exit(0)
        theirs.close()
        self._socket = ours

    def popen(self, command: Sequence[str], **options: Any) -> subprocess.Popen[bytes] | None:
        """Start a launcher in place of `command`; by the program itself if the server is gone."""
        if self._socket is not None and not options:
            message = json.dumps(list(command[1:])).encode()
            with suppress(OSError):
                self._socket.send(message)
                return None
        return subprocess.Popen(command, **options)  # noqa: S603  # a program of our own folder


def _serve(requests: socket.socket, launcher: Sequence[str]) -> None:
    """Fork a launcher for every request, until the other end closes."""
    # Nobody asks how a launcher ended; none is left behind unreaped.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    _load(FIRST)
    while received := requests.recv(MAX_ARGUMENTS_BYTES):
        if os.fork() == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _draw_anew()
            _run(launcher, _watching_its_parent(json.loads(received)))
        _load(LATER)


def _load(modules: Sequence[str]) -> None:
    # What cannot be loaded says so where it is needed, to the hub that asked.
    for name in modules:
        with suppress(ImportError):
            importlib.import_module(name)


def _watching_its_parent(arguments: list[str]) -> list[str]:
    """Return the arguments with the parent that this launcher has: it ends with that one."""
    if _PARENT in arguments:
        arguments[arguments.index(_PARENT) + 1] = str(os.getppid())
    return arguments


def _draw_anew() -> None:
    """Give this process states of its own in libraries: no two launchers draw the same.

    Keys and noise are drawn from the operating system and never from these.
    """
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(int.from_bytes(os.urandom(4), "big"))
    if torch := sys.modules.get("torch"):
        torch.manual_seed(int.from_bytes(os.urandom(8), "big"))


def _run(launcher: Sequence[str], arguments: list[str]) -> None:
    """Do what `python LAUNCHER ARGUMENTS` does, then end."""
    first, *rest = launcher
    sys.argv = [first, *arguments]
    if first == "-m":
        sys.exit(importlib.import_module(rest[0]).main(arguments))
    if first == "-c":
        exec(compile(rest[0], "<launcher>", "exec"), {"__name__": "__main__"})  # noqa: S102  # ours
    else:
        runpy.run_path(first, run_name="__main__")
    sys.exit(0)
