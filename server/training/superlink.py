"""The hub's SuperLink: its process, its registered partners, its runs.

The process gets an environment of its own. Nothing it does needs the internet: telemetry,
update check and dependency installation are off, no proxy is inherited, and of Flower's
programs only the two that run the ServerApp stand on its path; the others merely end.

Flower does not resume a run: if the process dies, its runs end as failed and the hub
starts new ones from the partners' checkpoints. Registered keys survive in the state file.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from flwr.supercore.constant import TASK_TYPE_TO_COMMAND

from compliance.atrest.handover import Handover
from compliance.atrest.secrets import read_secret, write_secret
from compliance.watched import end_group
from server.identity.serving import ServerFiles
from server.training.control import ControlClient, SuperLinkError
from server.training.gate import LOOPBACK, GateSettings
from server.training.plan import RunPlan
from server.training.runs import begin, state_of

HUB_HOME = "LIANFANG_HUB_HOME"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
# How often the hub looks for a ServerApp to start; a run takes minutes.
TASK_POLL_S = "0.2"

_PROGRAMS = {
    "flower-superexec": "from flwr.supercore.cli import flower_superexec as main",
    "flwr-serverapp": "from flwr.superlink.cli import flwr_serverapp as main",
}
# Absent programs would end the process that starts them, and with it all later runs.
_REFUSE = "from sys import exit as main"
_INHERITED = ("LANG", "LC_ALL", "TZ", "TMPDIR", "SYSTEMROOT")


@dataclass(frozen=True, slots=True)
class SuperLinkSettings:
    """Where the SuperLink lives and listens.

    Args:
        home: the hub's data directory; everything of Flower's goes to `home/flower`.
        ca_certificate: signs `certificate`; the hub's own processes trust it alone.
        certificate: must name 127.0.0.1 beside the host that partners dial.
        host: address of the fleet door; loopback unless partners dial it directly.
        fleet_port: 0 takes a free one.
    """

    home: Path
    ca_certificate: Path
    certificate: Path
    private_key: Path
    host: str = LOOPBACK
    fleet_port: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)


class SuperLink:
    """A running SuperLink, from `start` to `stop`."""

    def __init__(self, settings: SuperLinkSettings) -> None:
        self._settings = settings
        self._directory = settings.home.resolve() / "flower"
        self._process: subprocess.Popen[bytes] | None = None
        self._control: ControlClient | None = None
        self._fleet_port = settings.fleet_port
        self._handover: Handover | None = None
        self._files = ServerFiles(settings.certificate, settings.private_key, roots=str)
        self._shown: object = None

    def __enter__(self) -> SuperLink:
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
    def fleet_port(self) -> int:
        """The port at which partners' SuperNodes are answered."""
        return self._fleet_port

    @property
    def control(self) -> ControlClient:
        """Registration of partners and control of runs.

        Raises:
            SuperLinkError: if the process has not been started.
        """
        if self._control is None:
            raise SuperLinkError("superlink: not started")
        return self._control

    @property
    def pid(self) -> int | None:
        """Process id while the process is running."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    def start(self, *, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start the process and wait until it answers.

        Raises:
            SuperLinkError: if it ends or does not answer in time; names its log.
        """
        if self.pid is not None:
            raise SuperLinkError("superlink: already running")
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._shown = self._files.stamp()
        self._handover = Handover(self._directory)
        gate = self._gate_settings()
        path = self._directory / "gate.json"
        gate.store(path)
        log_file = self._directory / "superlink.log"
        with log_file.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
                [sys.executable, "-I", "-m", "server.training.superlink_process", str(path)],
                cwd=self._directory,
                env=self._environment(),
                # Never written to: it ends with this process, even one that is killed.
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._fleet_port = gate.fleet_port
        self._control = ControlClient(
            gate.inner_port,
            self._settings.ca_certificate,
            read_secret(Path(gate.token_file)).decode(),
        )
        self._wait_until_healthy(timeout_s, log_file)

    def stop(self) -> None:
        """Stop the process with everything that it started; does nothing if it is not running."""
        process, self._process, self._control = self._process, None, None
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

    def take_up_renewal(self) -> bool:
        """Start the process anew if its certificate was renewed and no run goes; tells whether.

        The process reads its certificate once. SuperNodes that are cut off dial again, and know
        nothing of it: their keys are in the state file. While a run goes, the one before is shown.

        Raises:
            SuperLinkError: the process does not come up again; the next call tries once more.
        """
        if self.pid is not None:
            if self._files.stamp() == self._shown or self._files.read() is None:
                return False
            if not self.control.is_idle():
                return False
        self.stop()
        self.start()
        return True

    def begin(self, plan: RunPlan) -> int:
        """Start a run of our bundle by this plan; return Flower's run id."""
        return begin(self.control, self._settings.home.resolve(), plan)

    def state_of(self, run: str) -> dict[str, Any]:
        """Return a run's state as the coordinator recorded it; see `runs.state_of`."""
        return state_of(self.control, self._settings.home.resolve(), run)

    def _gate_settings(self) -> GateSettings:
        settings = self._settings
        token_file = self._directory / "control.token"
        write_secret(token_file, secrets.token_hex(32).encode())
        return GateSettings(
            host=settings.host,
            fleet_port=settings.fleet_port or _free_port(settings.host),
            inner_port=_free_port(LOOPBACK),
            ca_certificate=str(settings.ca_certificate.resolve()),
            certificate=str(settings.certificate.resolve()),
            private_key=str(settings.private_key.resolve()),
            token_file=str(token_file),
            state_file=str(self._directory / "state.sqlite"),
        )

    def _environment(self) -> dict[str, str]:
        programs = self._directory / "bin"
        programs.mkdir(exist_ok=True)
        mains = dict.fromkeys(TASK_TYPE_TO_COMMAND.values(), _REFUSE) | _PROGRAMS
        for name, main in mains.items():
            _write_program(programs / name, f'-c "{main}; main()"')
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        return inherited | {
            "PATH": str(programs),
            "HOME": str(self._directory),
            "FLWR_HOME": str(self._directory),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": TASK_POLL_S,
            HUB_HOME: str(self._settings.home.resolve()),
            **(self._handover.environment if self._handover is not None else {}),
            **self._settings.environment,
        }

    def _wait_until_healthy(self, timeout_s: float, log_file: Path) -> None:
        end = time.monotonic() + timeout_s
        while not self.control.is_healthy():
            if self.pid is None:
                self.stop()
                raise SuperLinkError(f"superlink: ended while starting; see {log_file}")
            if time.monotonic() > end:
                self.stop()
                raise SuperLinkError(f"superlink: no answer in {timeout_s:g} s; see {log_file}")
            time.sleep(0.1)


def _write_program(path: Path, arguments: str) -> None:
    # -I: neither the working directory nor the caller's environment adds code.
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I {arguments} "$@"\n')
    path.chmod(0o700)


def _free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
