"""The one way in which this package signs, and the names that may stand in what it signs.

A signature covers `domain || body` with each part behind its length, so that a signature
over one kind of document serves no other.

Specification: RFC 8032 (Ed25519).
"""

from __future__ import annotations

import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.seal.fields import join_fields

SIGNATURE_SIZE = 64
DIGEST_SIZE = 32
MAX_U64 = 2**64 - 1
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
# A hub's name is the trust domain of all certificates (SPIFFE-ID, section 2.1).
_HUB = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")


def sign(identity: Ed25519PrivateKey, domain: bytes, body: bytes) -> bytes:
    """Sign a document of one kind (RFC 8032, section 5.1.6)."""
    return identity.sign(join_fields(domain, body))


def verify(
    public: Ed25519PublicKey, domain: bytes, body: bytes, signature: bytes, subject: str
) -> None:
    """Check a signature; return only if it is right (RFC 8032, section 5.1.7).

    Raises:
        InvalidProofError: it is of another key, document or kind of document.
    """
    try:
        public.verify(signature, join_fields(domain, body))
    except InvalidSignature as error:
        raise InvalidProofError(f"{subject}: signature does not hold") from error


def check_name(name: object, subject: str) -> None:
    """Refuse a name of an organisation that could not stand in a certificate or a path.

    Raises:
        MalformedMessageError: not 1 to 63 of `a-z 0-9 -`, a letter first.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise MalformedMessageError(
            f"{subject}: must be 1 to 63 lower-case letters, digits or '-', a letter first"
        )


def check_hub(name: object, subject: str) -> None:
    """Refuse a name of a hub that is no trust domain.

    Raises:
        MalformedMessageError: not 1 to 253 of `a-z 0-9 . -`, a letter or digit at both ends.
    """
    if not isinstance(name, str) or not _HUB.fullmatch(name):
        raise MalformedMessageError(
            f"{subject}: must be 1 to 253 lower-case letters, digits, '.' or '-'"
        )


def check_size(value: bytes, size: int, subject: str) -> None:
    """Refuse a field of another length.

    Raises:
        MalformedMessageError: names both lengths.
    """
    if len(value) != size:
        raise MalformedMessageError(f"{subject}: {len(value)} bytes, expected {size}")


def check_whole(value: object, subject: str, *, least: int = 0, most: int = MAX_U64) -> None:
    """Refuse what is no whole number within bounds; true and 1.0 are none.

    Raises:
        MalformedMessageError: names the bounds.
    """
    if type(value) is not int or not least <= value <= most:
        raise MalformedMessageError(f"{subject}: must be a whole number in {least}..{most}")
