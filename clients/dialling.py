"""Dialling the hub: whom a node trusts, how long it waits, and what a refusal means."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from clients.lifetime import check_lifetime
from compliance.atrest.secrets import read_secret
from protocols.link import MAX_ENVELOPE_SIZE, PARTY_METADATA_KEY, TransportError

# A hub that is gone without a word is noticed within 20 s: a ping every 8, 12 for the answer.
# The core library waits a minute for answers unless both of its timeouts are set. A ping
# queues behind data, so a saturated line must move its buffers (some MB) in that time.
KEEPALIVE_S = 8
KEEPALIVE_ANSWER_S = 12
# Dialling a silent address is given up after this, so that a line which is back is found soon.
DIAL_S = 8
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_ENVELOPE_SIZE),
    ("grpc.max_send_message_length", MAX_ENVELOPE_SIZE),
    ("grpc.keepalive_time_ms", KEEPALIVE_S * 1000),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_ANSWER_S * 1000),
    ("grpc.http2.ping_timeout_ms", KEEPALIVE_ANSWER_S * 1000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.min_reconnect_backoff_ms", DIAL_S * 1000),
    ("grpc.use_local_subchannel_pool", 1),
    # The address of the hub is what the partner configured; no proxy of the environment.
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """PEM files with which a node and its hub know each other."""

    authority: Path
    certificate: Path
    key: Path


def open_channel(address: str, credentials: Credentials) -> Any:
    """Return a gRPC channel to the hub; it dials when it is first used.

    Raises:
        TransportError: the credentials cannot be read, or the certificate has ended.
    """
    check_lifetime(credentials.certificate)
    try:
        loaded = grpc.ssl_channel_credentials(
            credentials.authority.read_bytes(),
            read_secret(credentials.key),
            credentials.certificate.read_bytes(),
        )
    except OSError as error:
        raise TransportError(
            f"credentials: {error.filename} cannot be read; join the hub first", retryable=False
        ) from error
    return grpc.secure_channel(address, loaded, options=_OPTIONS)


def party_at_fault(error: Any) -> str | None:
    """Return the party that the hub names in its refusal, if it names one."""
    named = dict(error.trailing_metadata() or ()).get(PARTY_METADATA_KEY)
    return named if isinstance(named, str) else None


def explain_status(error: Any, address: str) -> tuple[str, bool]:
    """Say in one sentence what a gRPC status means for the caller, and whether to retry."""
    details = error.details() or "no reason given"
    match error.code():
        case grpc.StatusCode.UNAVAILABLE:
            return f"the hub at {address} cannot be reached: {details}", True
        case grpc.StatusCode.ABORTED | grpc.StatusCode.RESOURCE_EXHAUSTED:
            return f"the hub does not let this node in yet: {details}", True
        case grpc.StatusCode.PERMISSION_DENIED | grpc.StatusCode.INVALID_ARGUMENT:
            return f"the hub refused: {details}", False
        case grpc.StatusCode.CANCELLED:
            return "the link was closed", False
        case code:
            return f"the link to {address} failed: {code.name.lower()}: {details}", True
