"""The node's SuperNode process: it fetches the hub's messages and starts our launcher.

Flower starts its programs by bare name from the path. The process therefore gets a path
with one folder on it, in the node's own directory, where *every* program that a
coordinator can ask for is our launcher: `flwr-clientapp`, and equally `flwr-agentapp` and
the rest, which would otherwise be a way past it. The environment is the process's own:
no proxy, no PYTHONPATH, nothing of the caller's that could bring in other code.

The SuperNode dials out; its only listening port is on loopback, for the launcher.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from flwr.supercore.constant import TASK_TYPE_TO_COMMAND

from compliance.atrest.handover import Handover
from compliance.atrest.secrets import create_secret
from compliance.backoff import Backoff
from compliance.watched import end_group

LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
# Between two starts of a process that does not last; one that lasted longer is started at once.
REVIVE_FIRST_S, REVIVE_LONGEST_S = 3.0, 30.0
LAUNCHER = ("-m", "clients.node.launcher")
PROGRAM = ("-m", "clients.node.supernode_process")

_SUPEREXEC = "clients.node.superexec_process"
_INHERITED = (
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "SYSTEMROOT",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
)


class SuperNodeError(Exception):
    """The SuperNode did not start."""

    code: ClassVar[str] = "supernode_error"


@dataclass(frozen=True, slots=True)
class SuperNodeSettings:
    """One partner's SuperNode.

    Args:
        home: the node's directory; everything of Flower's goes to `home/flower`.
        superlink: `host:port` of the hub's fleet door.
        root_certificate: the only authority trusted for the hub's certificate.
        private_key: made by `make_key`; its public half is registered at the hub.
        launcher: arguments to this Python for the program that answers a message.
        runtime_port: loopback port for the launcher; 0 takes a free one.
        program: arguments to this Python for the SuperNode itself.
    """

    home: Path
    superlink: str
    root_certificate: Path
    private_key: Path
    launcher: tuple[str, ...] = LAUNCHER
    runtime_port: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    program: tuple[str, ...] = PROGRAM


def make_key(path: Path) -> bytes:
    """Make the SuperNode's key (P-384) at its owner; return the public half as PEM.

    Raises:
        FileExistsError: if there is a key already; a registered key is not replaced by chance.
    """
    if path.exists():
        raise FileExistsError(f"{path.name}: exists already")
    key = ec.generate_private_key(ec.SECP384R1())
    create_secret(path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


class SuperNode:
    """A running SuperNode, from `start` to `stop`."""

    def __init__(
        self, settings: SuperNodeSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._backoff = Backoff(REVIVE_FIRST_S, REVIVE_LONGEST_S)
        self._launched_at = clock()
        self._wait_s = 0.0
        self._directory = settings.home.resolve() / "flower"
        self._process: subprocess.Popen[bytes] | None = None
        self._handover: Handover | None = None

    def __enter__(self) -> SuperNode:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Process id while the process is running."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    @property
    def log_file(self) -> Path:
        """Where the process and the launchers that it starts write."""
        return self._directory / "supernode.log"

    def start(self, *, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start the process and wait until its launcher port answers.

        It connects to the hub in its own time and keeps trying while the hub is away.

        Raises:
            SuperNodeError: if it ends or does not answer in time; names its log.
        """
        if self.pid is not None:
            raise SuperNodeError("supernode: already running")
        self.launch()
        self.wait_until_ready(timeout_s=timeout_s)

    def launch(self) -> None:
        """Start the process without waiting, so that several nodes can start together."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        settings = self._settings
        self._handover = Handover(self._directory)
        self._port = settings.runtime_port or _free_port()
        self._launched_at = self._clock()
        arguments = [
            *("--superlink", settings.superlink),
            *("--root-certificates", str(settings.root_certificate.resolve())),
            *("--auth-supernode-private-key", str(settings.private_key.resolve())),
            *("--host", LOOPBACK),
            *("--port", str(self._port)),
            *("--isolation", "subprocess"),
        ]
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and code
                [sys.executable, "-I", *settings.program, *arguments],
                cwd=self._directory,
                env=self._environment(),
                # Never written to: it ends with this process, even one that is killed.
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_ready(self, *, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until the launcher port answers.

        Raises:
            SuperNodeError: if the process ends or does not answer in time; names its log.
        """
        end = time.monotonic() + timeout_s
        while not _answers(self._port):
            if self.pid is None:
                raise SuperNodeError(f"supernode: ended while starting; see {self.log_file}")
            if time.monotonic() > end:
                self.stop()
                raise SuperNodeError(
                    f"supernode: no answer in {timeout_s:g} s; see {self.log_file}"
                )
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop the process with everything that it started; does nothing if it is not running."""
        process, self._process = self._process, None
        handover, self._handover = self._handover, None
        if handover is not None:
            handover.close()
        if process is None:
            return
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
        end_group(process.pid)
        process.wait()
        if process.stdin is not None:
            process.stdin.close()

    def revive(self) -> bool:
        """Start the process anew if it is gone, without waiting for it; tells whether it did.

        To be asked again and again. A process that does not last is started less and less
        often, since every start takes seconds of a core from those who ask this node.
        """
        age_s = self._clock() - self._launched_at
        if self.pid is not None:
            if age_s > REVIVE_LONGEST_S:
                self._backoff.reset()
                self._wait_s = 0.0
            return False
        if age_s < self._wait_s:
            return False
        self.stop()
        self.launch()
        self._wait_s = self._backoff.wait_s()
        return True

    def _environment(self) -> dict[str, str]:
        programs = self._directory / "bin"
        write_programs(programs, self._settings.launcher)
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        return inherited | {
            "PATH": str(programs),
            "HOME": str(self._directory),
            "FLWR_HOME": str(self._directory),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "LIANFANG_NODE_HOME": str(self._settings.home.resolve()),
            **(self._handover.environment if self._handover is not None else {}),
            **self._settings.environment,
        }


def write_programs(folder: Path, launcher: tuple[str, ...]) -> None:
    """Fill the folder that is the SuperNode's whole path."""
    folder.mkdir(exist_ok=True, mode=0o700)
    quoted = " ".join(f'"{argument}"' for argument in launcher)
    # It asks its fork server for launchers, and the programs beside it where that is gone.
    _write_program(folder / "flower-superexec", f"-m {_SUPEREXEC} {quoted} --")
    for name in TASK_TYPE_TO_COMMAND.values():
        _write_program(folder / name, quoted)


def _write_program(path: Path, arguments: str) -> None:
    # -I: neither the working directory nor the caller's environment adds code.
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I {arguments} "$@"\n')
    path.chmod(0o700)


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False
