"""Calls to the SuperLink's control door: register a partner, start, watch and stop a run.

Plain HTTPS to loopback with the hub's own certificate authority and the control token.
Flower's own client is not used because it would obey the proxy settings of the hub's
environment and could carry the token to a proxy.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from flwr.common.serde import user_config_to_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListNodesResponse,
    ListRunsRequest,
    ListRunsResponse,
    RegisterNodeRequest,
    RegisterNodeResponse,
    StartRunRequest,
    StartRunResponse,
    StopRunRequest,
    StopRunResponse,
    UnregisterNodeRequest,
    UnregisterNodeResponse,
)
from flwr.proto.fab_pb2 import Fab

from server.training.gate import CONTROL, HEALTH, LOOPBACK

REQUEST_TIMEOUT_S = 30.0
OK = 200


class SuperLinkError(Exception):
    """The SuperLink did not start, did not answer or refused a call."""

    code: ClassVar[str] = "superlink_error"


@dataclass(frozen=True, slots=True)
class RegisteredNode:
    """A partner's SuperNode as the SuperLink knows it."""

    name: str
    node_id: int
    public_key: bytes
    is_online: bool


@dataclass(frozen=True, slots=True)
class RunStatus:
    """Flower's view of a run; our own is in the run's state file.

    Args:
        status: "pending", "starting", "running" or "finished".
        outcome: "completed", "failed" or "stopped"; empty before the end.
    """

    status: str
    outcome: str
    details: str


class ControlClient:
    """Control of one SuperLink.

    Args:
        port: of the inner door.
        token: as written in the hub's token file.
    """

    def __init__(self, port: int, ca_certificate: Path, token: str) -> None:
        self._port = port
        self._tls = ssl.create_default_context(cafile=str(ca_certificate))
        self._token = token.strip()

    def is_healthy(self) -> bool:
        """Whether the SuperLink answers."""
        try:
            return self._request("GET", HEALTH)[0] == OK
        except (OSError, http.client.HTTPException):
            return False

    def register(self, name: str, public_key: bytes) -> int:
        """Register a partner's SuperNode key under its name; return its node id.

        The key is PEM, on a NIST curve. Registering the same pair again returns the same id.

        Raises:
            SuperLinkError: if the name has another key, or the key another name.
        """
        known = self.nodes().get(name)
        if known is not None and known.public_key == public_key:
            return known.node_id
        if known is not None:
            raise SuperLinkError(f"{name}: registered with another key; unregister it first")
        request = RegisterNodeRequest(public_key=public_key, name=name)
        reply = RegisterNodeResponse()
        self._call("register-node", request, reply)
        node_id: int = reply.node_id
        return node_id

    def unregister(self, name: str) -> None:
        """Forget a partner's key: its SuperNode is no longer answered."""
        known = self.nodes().get(name)
        if known is not None:
            request = UnregisterNodeRequest(node_id=known.node_id)
            self._call("unregister-node", request, UnregisterNodeResponse())

    def nodes(self) -> dict[str, RegisteredNode]:
        """Return the registered SuperNodes by name."""
        reply = ListNodesResponse()
        self._call("list-nodes", ListNodesRequest(), reply)
        return {
            node.name: RegisteredNode(
                node.name, node.node_id, node.public_key, node.status == "online"
            )
            for node in reply.nodes_info
            if node.status != "unregistered"
        }

    def start_run(self, bundle: bytes, config: Mapping[str, str]) -> int:
        """Start a run of a bundle; return Flower's run id.

        `config` overrides keys of the bundle's run configuration; partners can read it.
        """
        request = StartRunRequest(
            fab=Fab(content=bundle), override_config=user_config_to_proto(dict(config))
        )
        reply = StartRunResponse()
        self._call("start-run", request, reply)
        run_id: int = reply.run_id
        if run_id == 0:
            raise SuperLinkError("start-run: no run was made")
        return run_id

    def run_status(self, run_id: int) -> RunStatus:
        """Return Flower's view of a run."""
        reply = ListRunsResponse()
        self._call("list-runs", ListRunsRequest(run_id=run_id), reply)
        status = reply.run_dict[run_id].status
        return RunStatus(status.status, status.sub_status, status.details)

    def is_idle(self) -> bool:
        """Whether no run waits or goes on."""
        reply = ListRunsResponse()
        self._call("list-runs", ListRunsRequest(), reply)
        return all(run.status.status == "finished" for run in reply.run_dict.values())

    def stop_run(self, run_id: int) -> bool:
        """Stop a run; answer whether it was still going."""
        if self.run_status(run_id).status == "finished":
            return False
        reply = StopRunResponse()
        self._call("stop-run", StopRunRequest(run_id=run_id), reply)
        success: bool = reply.success
        return success

    def _call(self, name: str, request: Any, reply: Any) -> None:
        """Make one call and parse the answer into `reply` (both protobuf messages)."""
        try:
            status, body = self._request("POST", CONTROL + name, request.SerializeToString())
        except (OSError, http.client.HTTPException) as error:
            raise SuperLinkError(f"{name}: superlink does not answer") from error
        if status != OK:
            raise SuperLinkError(f"{name}: superlink answered {status}: {body[:500]!r}")
        reply.ParseFromString(body)

    def _request(self, method: str, path: str, content: bytes = b"") -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection(
            LOOPBACK, self._port, timeout=REQUEST_TIMEOUT_S, context=self._tls
        )
        headers = {
            "authorization": f"Bearer {self._token}",
            "content-type": "application/protobuf",
            "accept": "application/protobuf",
        }
        try:
            connection.request(method, path, content, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()
