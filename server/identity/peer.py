"""Names in certificates: `spiffe://<hub>/node/<name>`, exactly one per certificate.

Specification: SPIFFE-ID (section 2, trust domain and path) and X509-SVID (section 2, exactly
one URI in the subject alternative name) of the SPIFFE standards, version 1.0.
"""

from __future__ import annotations

import re

from cryptography import x509

from protocols.errors import InvalidProofError, MalformedMessageError

# The node name of the hub's own processes; no partner is ever given it.
CONTROL_NAME = "hub"
_PROXY = "proxy"
_TRUST_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_NODE_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")


def check_hub_name(hub: str) -> None:
    """Refuse a hub name that is no trust domain: lower-case letters, digits, '.' and '-'."""
    if not _TRUST_DOMAIN.fullmatch(hub):
        raise ValueError("hub name must be lower-case letters, digits, '.' or '-', 1 to 253 long")


def node_uri(hub: str, name: str) -> str:
    """Write the name of a node as a SPIFFE ID."""
    check_hub_name(hub)
    if not is_node_name(name):
        raise ValueError("node name must be 1 to 63 lower-case letters, digits or '-'")
    return f"spiffe://{hub}/node/{name}"


def is_node_name(name: str) -> bool:
    """Report whether a node can have this name."""
    return _NODE_NAME.fullmatch(name) is not None


def proxy_uri(hub: str) -> str:
    """Write the name of what stands in front of the hub's API; no node has one like it."""
    check_hub_name(hub)
    return f"spiffe://{hub}/{_PROXY}"


def is_proxy(leaf: x509.Certificate, hub: str) -> bool:
    """Report whether a certificate, signed by the hub's authority, is a proxy's."""
    try:
        return _uri(leaf) == proxy_uri(hub)
    except (InvalidProofError, MalformedMessageError):
        return False


def parse_peer(certificate: bytes, hub: str) -> str:
    """Return the node name of a PEM certificate that TLS has verified already.

    Raises:
        MalformedMessageError: not one certificate in PEM form.
        InvalidProofError: not exactly one name, or none of a node of this hub.
    """
    try:
        (leaf,) = x509.load_pem_x509_certificates(certificate)
    except ValueError as error:
        raise MalformedMessageError("peer certificate: not readable") from error
    return parse_leaf(leaf, hub)


def parse_leaf(leaf: x509.Certificate, hub: str) -> str:
    """Return the node name of a certificate that is verified already; raises as `parse_peer`."""
    prefix, uri = f"spiffe://{hub}/node/", _uri(leaf)
    name = uri.removeprefix(prefix)
    if not uri.startswith(prefix) or not _NODE_NAME.fullmatch(name):
        raise InvalidProofError("peer certificate: names no node of this hub")
    return name


def serial_number(certificate: bytes) -> int:
    """Return the serial number of a PEM certificate that TLS has verified already.

    Raises:
        MalformedMessageError: not a certificate in PEM form.
    """
    try:
        return x509.load_pem_x509_certificate(certificate).serial_number
    except ValueError as error:
        raise MalformedMessageError("peer certificate: not readable") from error


def _uri(leaf: x509.Certificate) -> str:
    """Return the only name of a certificate."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = [(type(name), name.value) for name in names]
    except x509.ExtensionNotFound as error:
        raise InvalidProofError("peer certificate: has no subject alternative name") from error
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise MalformedMessageError("peer certificate: not readable") from error
    if len(found) != 1 or found[0][0] is not x509.UniformResourceIdentifier:
        raise InvalidProofError("peer certificate: expected one URI and no other name")
    return str(found[0][1])
