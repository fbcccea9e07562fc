"""What a node's identity key signs when it comes to a hub, asks how it stands, and renews.

    join     hub, hash of the invitation's secret, hash of the request
    asking   hub, number of the request, time
    renewal  hub, node, serial number of the certificate in use, hash of the new request

Each is a kind of document of its own, so none serves for another, for another hub or for
another request. The identity key outlives all certificates: a certificate and its key that were
stolen renew nothing without it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocols.errors import MalformedMessageError
from protocols.jcs import encode_jcs
from protocols.lookup.signing import SIGNATURE_SIZE, sign, verify
from protocols.seal.fields import join_fields

_SECRET = b"lianfang/enrolment/secret/v1"
_JOIN = b"lianfang/enrolment/join/v1"
_ASKING = b"lianfang/enrolment/asking/v1"
_RENEWAL = b"lianfang/enrolment/renewal/v1"
# Clocks of a new site are often wrong; nothing secret is told to whoever repeats a proof.
PROOF_LASTS_S = 900
_TIME = re.compile(r"[0-9]{1,12}", re.ASCII)
_SIGNATURE = re.compile(rf"[0-9a-f]{{{2 * SIGNATURE_SIZE}}}")


def hash_secret(secret: bytes) -> bytes:
    """Return what a hub keeps of the secret of an invitation."""
    return sha256(join_fields(_SECRET, secret)).digest()


def sign_join(
    identity: Ed25519PrivateKey, hub: str, secret: bytes, request: Mapping[str, Any]
) -> bytes:
    """Sign a join request, for one hub and one invitation."""
    return sign(identity, _JOIN, _join(hub, secret, request))


def verify_join(
    public: Ed25519PublicKey, hub: str, secret: bytes, request: Mapping[str, Any], signature: bytes
) -> None:
    """Check that who asks holds the identity key that it names.

    Raises:
        InvalidProofError: it does not.
    """
    verify(public, _JOIN, _join(hub, secret, request), signature, "join request")


def prove_asking(identity: Ed25519PrivateKey, hub: str, number: str, now: int) -> str:
    """Write the proof with which a node asks for its welcome."""
    return f"{now}.{sign(identity, _ASKING, _asking(hub, number, now)).hex()}"


def verify_asking(public: Ed25519PublicKey, hub: str, number: str, proof: str, now: int) -> None:
    """Check the proof of a node that asks for its welcome.

    Raises:
        MalformedMessageError: it is no proof, or of another time.
        InvalidProofError: it is of another key or request.
    """
    at, signature = parse_proof(proof)
    if abs(now - at) > PROOF_LASTS_S:
        raise MalformedMessageError(f"proof: older or newer than {PROOF_LASTS_S} s; set the clock")
    verify(public, _ASKING, _asking(hub, number, at), signature, "proof")


def parse_proof(proof: str) -> tuple[int, bytes]:
    """Return time and signature of a proof.

    Raises:
        MalformedMessageError: it is none.
    """
    at, _, text = proof.partition(".")
    if not _TIME.fullmatch(at):
        raise MalformedMessageError("proof: needs a time in Unix seconds, a dot and a signature")
    return int(at), parse_signature(text, "proof")


def sign_renewal(
    identity: Ed25519PrivateKey, hub: str, name: str, *, serial: int, request: bytes
) -> bytes:
    """Sign a request for a new certificate, in place of the one with this serial number."""
    return sign(identity, _RENEWAL, _renewal(hub, name, serial, request))


def verify_renewal(
    public: Ed25519PublicKey,
    hub: str,
    name: str,
    *,
    serial: int,
    request: bytes,
    signature: bytes,
) -> None:
    """Check that a new certificate is asked for by the owner of the name.

    Raises:
        InvalidProofError: by somebody else, or in place of another certificate.
    """
    verify(public, _RENEWAL, _renewal(hub, name, serial, request), signature, "renewal")


def parse_signature(text: object, subject: str) -> bytes:
    """Read a signature from hexadecimal digits.

    Raises:
        MalformedMessageError: it is none.
    """
    if not isinstance(text, str) or not _SIGNATURE.fullmatch(text):
        raise MalformedMessageError(
            f"{subject}: signature needs {2 * SIGNATURE_SIZE} hexadecimal digits, lower case"
        )
    return bytes.fromhex(text)


def _join(hub: str, secret: bytes, request: Mapping[str, Any]) -> bytes:
    try:
        digest = sha256(encode_jcs(dict(request))).digest()
    except ValueError as error:
        raise MalformedMessageError("join request: has no canonical form") from error
    return join_fields(hub.encode(), hash_secret(secret), digest)


def _asking(hub: str, number: str, at: int) -> bytes:
    return join_fields(hub.encode(), number.encode(), at.to_bytes(8, "big"))


def _renewal(hub: str, name: str, serial: int, request: bytes) -> bytes:
    return join_fields(
        hub.encode(), name.encode(), f"{serial:x}".encode(), sha256(request).digest()
    )
