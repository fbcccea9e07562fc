"""Certificates for proxies in front of the API: given by an operator, revoked by an operator.

A certificate of a node is no secret, so whoever holds a proxy's key can speak to the API in any
node's name. It cannot sign in a node's name: evaluations, tables, agreements and renewals need
keys that never leave the node.
"""

from __future__ import annotations

from pathlib import Path

from compliance.atrest.secrets import write_secret
from compliance.files import write_atomically
from server.identity.authority import issue_proxy, load_authority
from server.identity.issued import Issued, Revocations

# No node can have this name.
HOLDER = "/proxy"
CERTIFICATE, KEY, AUTHORITY = "proxy.pem", "proxy.key", "ca.crt"


def give_certificate(root: Path, directory: Path, now: int) -> None:
    """Make a proxy's key and certificate, and write them with the hub's authority.

    Args:
        root: the hub's directory.
        directory: of the proxy.
    """
    authority = load_authority(root / "authority")
    certificate, key = issue_proxy(authority, now)
    Issued(root).add(HOLDER, certificate, now)
    write_secret(directory / KEY, key)
    write_atomically(directory / CERTIFICATE, certificate)
    write_atomically(directory / AUTHORITY, (root / "authority" / "ca.crt").read_bytes())


def revoke_certificates(root: Path, now: int) -> int:
    """Revoke every certificate that was given to a proxy; returns how many there were."""
    serials = Issued(root).serials(HOLDER)
    Revocations(root).add(load_authority(root / "authority"), serials, now)
    return len(serials)
