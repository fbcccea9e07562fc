"""The SuperLink process: `python -m server.training.superlink_process SETTINGS.json`.

Builds Flower's SuperLink from its parts instead of running `flower-superlink`, in order to
put the gate in front of it. Uses of Flower's internals are gathered here and checked by
the process tests; the dependency is pinned to one minor version.
"""

from __future__ import annotations

import importlib
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import uvicorn
from flwr.common.constant import ISOLATION_MODE_SUBPROCESS, TRANSPORT_TYPE_GRPC_RERE
from flwr.superlink.auth_plugin import NoOpControlAuthnPlugin
from flwr.superlink.cli.flower_superlink import SuperLinkLifespan
from flwr.superlink.config_loader import SuperLinkLifespanConfig
from flwr.superlink.main import create_app

from compliance.atrest.secrets import read_secret, secret_file
from compliance.watched import end_with_input, start_needed
from server.training.flower_state import prepare
from server.training.gate import LOOPBACK, Gate, GateSettings

_LIFESPAN = "flwr.superlink.cli.flower_superlink"


def serve(settings: GateSettings) -> None:
    """Run the SuperLink until it is told to stop."""
    end_with_input()
    token = read_secret(Path(settings.token_file)).decode().strip()
    prepare(Path(settings.state_file))
    with secret_file(Path(settings.private_key)) as private_key:
        _serve(replace(settings, private_key=str(private_key)), token)


def _serve(settings: GateSettings, token: str) -> None:
    # Without the program that starts a run's ServerApp, runs would be taken and none begun.
    importlib.import_module(_LIFESPAN).__dict__["subprocess"] = SimpleNamespace(
        Popen=start_needed, TimeoutExpired=subprocess.TimeoutExpired
    )
    superlink = create_app(_lifespan(settings), SuperLinkLifespan)
    server = uvicorn.Server(
        uvicorn.Config(
            Gate(superlink, inner_port=settings.inner_port, token=token),
            ssl_certfile=settings.certificate,
            ssl_keyfile=settings.private_key,
            access_log=False,
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            ws="none",
            timeout_graceful_shutdown=3,
        )
    )
    doors = [
        _listen(settings.host, settings.fleet_port),
        _listen(LOOPBACK, settings.inner_port),
    ]
    server.run(sockets=doors)


def _lifespan(settings: GateSettings) -> SuperLinkLifespanConfig:
    files = (settings.ca_certificate, settings.certificate, settings.private_key)
    ca, certificate, key = (Path(file).read_bytes() for file in files)
    return SuperLinkLifespanConfig(
        control_address="",  # of the removed gRPC services
        health_server_address=None,
        # The ServerApp's processes connect to the inner door.
        host=LOOPBACK,
        port=settings.inner_port,
        insecure=False,
        certificates=(ca, certificate, key),
        superexec_auth_secret=None,
        authn_plugin=NoOpControlAuthnPlugin(),  # the gate has asked already
        event_log_plugin=None,
        fleet_event_log_plugin=None,
        enable_event_log=False,
        artifact_provider=None,
        enable_supernode_auth=True,
        fleet_api_type=TRANSPORT_TYPE_GRPC_RERE,
        fleet_api_address="",
        simulation=False,
        ssl_ca_certfile=settings.ca_certificate,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.private_key,
        database=settings.state_file,
        isolation=ISOLATION_MODE_SUBPROCESS,
        runtime_dependency_install=False,
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    door = socket.socket(family, socket.SOCK_STREAM)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    door.bind((host, port))
    door.listen(128)
    door.settimeout(0)
    return door


if __name__ == "__main__":
    serve(GateSettings.load(Path(sys.argv[1])))
