"""Ask the hub process from another process of the hub, such as Flower's ServerApp."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc

from compliance.atrest.secrets import read_secret
from protocols.link import CONTROL_METHOD, MAX_ENVELOPE_SIZE, TransportError

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_ENVELOPE_SIZE),
    ("grpc.max_send_message_length", MAX_ENVELOPE_SIZE),
)


def call_control(
    address: str,
    request: dict[str, Any],
    *,
    authority: Path,
    certificate: Path,
    key: Path,
    timeout_s: float,
) -> dict[str, Any]:
    """Send one control request and return the answer; needs the hub's own certificate.

    Raises:
        TransportError: the hub is not reachable, or refuses; the text says which.
    """
    credentials = grpc.ssl_channel_credentials(
        authority.read_bytes(), read_secret(key), certificate.read_bytes()
    )
    with grpc.secure_channel(address, credentials, options=_OPTIONS) as channel:
        call = channel.unary_unary(CONTROL_METHOD)
        try:
            answer: dict[str, Any] = json.loads(
                call(json.dumps(request).encode(), timeout=timeout_s)
            )
        except grpc.RpcError as error:
            waiting = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
            raise TransportError(
                f"control request to {address} failed: {error.details()}",
                retryable=error.code() in waiting,
            ) from error
    return answer
