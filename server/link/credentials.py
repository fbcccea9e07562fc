"""TLS of the link: its certificate, and whom it trusts, are read anew for every connection.

What is connected stays connected; whoever connects next is shown what lies there now.
"""

from __future__ import annotations

import threading

import grpc

from protocols.link import TransportError
from server.identity.serving import ServerFiles


def live_credentials(files: ServerFiles) -> grpc.ServerCredentials:
    """Return credentials of a server that asks for client certificates and verifies them.

    Raises:
        TransportError: the certificate cannot be used.
    """
    lock, seen = threading.Lock(), files.stamp()
    first = _configuration(files)
    if first is None:
        name = files.paths[0].name
        raise TransportError(f"{name}: cannot be used; run `lianfang-hub renew`", retryable=False)

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """Return what has changed; None keeps what is there. Runs in threads of the library."""
        nonlocal seen
        with lock:
            stamp = files.stamp()
            if stamp == seen:
                return None
            found = _configuration(files)
            seen = stamp
            return found

    return grpc.dynamic_ssl_server_credentials(first, fetch, require_client_authentication=True)


def _configuration(files: ServerFiles) -> grpc.ServerCertificateConfiguration | None:
    pair = files.read()
    if pair is None:
        return None
    return grpc.ssl_server_certificate_configuration(
        [(pair.key, pair.certificate)], root_certificates=files.roots().encode()
    )
