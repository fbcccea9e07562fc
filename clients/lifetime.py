"""A node's own certificate, looked at before it is shown: one that has ended is told as such.

A hub that refuses it during the handshake cannot say so in words: what would reach the operator
is a connection that was closed. The clock that is asked is this machine's, and the text says so.
"""

from __future__ import annotations

import time
from pathlib import Path

from cryptography import x509

from protocols.link import TransportError


def check_lifetime(certificate: Path) -> None:
    """Return only if a certificate (PEM) counts at this moment; one that is no PEM is let pass.

    Raises:
        TransportError: it has ended, or has not begun; says what to do. Not retryable.
    """
    try:
        leaf = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError):
        return  # told by whoever loads it
    now = time.time()
    ends, begins = leaf.not_valid_after_utc, leaf.not_valid_before_utc
    if now >= ends.timestamp():
        raise TransportError(
            f"credentials: this node's certificate ended on {ends:%Y-%m-%d %H:%M} UTC by this "
            "machine's clock, and the hub takes it no more; ask the hub's operator for a new "
            "code, and join again by `lianfang node join`",
            retryable=False,
        )
    if now < begins.timestamp():
        raise TransportError(
            f"credentials: this node's certificate begins on {begins:%Y-%m-%d %H:%M} UTC, which "
            "is to come by this machine's clock; set the clock",
            retryable=False,
        )
