"""A blinded batch, signed by the partner that asks, with the reason why it asks.

    asker -> hub      SignedRequest
    hub   -> holder   the same bytes: every holder judges the request by itself

The signature covers the hub, the asker, the purpose, the case and, inside the evaluation,
the epoch and the key: nothing of it can be moved to another of any of these. What makes two
requests the same is `digest`, which leaves out time and signature: a request that is sent
again after a long outage is signed anew and still counts as the one that was charged.

Wire format: `version (u8) || hub || asker || purpose || case (32) || asked_at (u64)
|| evaluation || signature (64)`; texts and the evaluation behind their lengths (u32).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocols.codec import Reader, Writer
from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.group.interface import ELEMENT_SIZE
from protocols.lookup.signing import (
    SIGNATURE_SIZE,
    check_hub,
    check_name,
    check_size,
    check_whole,
    sign,
    verify,
)
from protocols.oprf.messages import EvaluationRequest
from protocols.seal.fields import join_fields

VERSION = 1
CASE_SIZE = 32
CASE_SALT_SIZE = 32
NO_CASE = bytes(CASE_SIZE)
MAX_REFERENCE = 200
_DOMAIN = b"lianfang/lookup/request/v1"
_DIGEST_DOMAIN = b"lianfang/lookup/request-digest/v1"
_CASE_DOMAIN = b"lianfang/lookup/case/v1"


class Purpose(StrEnum):
    """What an answer is wanted for; a grant names those that an asker may have."""

    COUNTER = "counter"
    CALL_CENTRE = "call_centre"
    ONLINE = "online"
    SCREENING = "screening"
    PUBLISH = "publish"
    ALIGNMENT = "alignment"


# Someone stands before the asker: there is a case, and an auditor can find it again.
CASE_PURPOSES = frozenset({Purpose.COUNTER, Purpose.CALL_CENTRE, Purpose.ONLINE})


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """One request for evaluations, as every holder sees it.

    `case` commits to the asker's reference of the case (`commit_case`), or is zeros.
    """

    hub: str
    asker: str
    purpose: Purpose
    case: bytes
    asked_at: int
    evaluation: EvaluationRequest
    signature: bytes = field(repr=False)

    def __post_init__(self) -> None:
        check_hub(self.hub, "signed request: hub")
        check_name(self.asker, "signed request: asker")
        check_size(self.case, CASE_SIZE, "signed request: case")
        check_whole(self.asked_at, "signed request: asked_at")
        check_size(self.signature, SIGNATURE_SIZE, "signed request: signature")

    def encode(self) -> bytes:
        """Write the request."""
        return self.signed_part + self.signature

    @classmethod
    def decode(cls, data: bytes) -> SignedRequest:
        """Read a request; `verify_request` judges its signature.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        reader = Reader(data, "signed request")
        if (version := reader.u8()) != VERSION:
            raise MalformedMessageError(f"signed request: version {version}, expected {VERSION}")
        hub, asker, purpose = reader.text(), reader.text(), read_purpose(reader)
        case, asked_at = reader.take(CASE_SIZE), reader.u64()
        evaluation = EvaluationRequest.decode(reader.block())
        signature = reader.take(SIGNATURE_SIZE)
        reader.finish()
        return cls(hub, asker, purpose, case, asked_at, evaluation, signature)

    @property
    def digest(self) -> bytes:
        """Name what is asked, by whom and why, in 32 bytes; not when, and not how signed."""
        parts = (self.hub.encode(), self.asker.encode(), self.purpose.encode(), self.case)
        return sha256(join_fields(_DIGEST_DOMAIN, *parts, self.evaluation.encode())).digest()

    @property
    def request_id(self) -> bytes:
        """The name that the asker gave the request."""
        return self.evaluation.request_id

    @property
    def count(self) -> int:
        """How many elements are to be evaluated: what the quota is charged."""
        return len(self.evaluation.blinded) // ELEMENT_SIZE

    @property
    def signed_part(self) -> bytes:
        """What the signature covers: everything before it."""
        out = Writer().u8(VERSION).text(self.hub).text(self.asker).text(self.purpose)
        head = out.encode() + self.case
        return head + Writer().u64(self.asked_at).block(self.evaluation.encode()).encode()


def sign_request(
    identity: Ed25519PrivateKey,
    *,
    hub: str,
    asker: str,
    purpose: Purpose,
    case: bytes,
    asked_at: int,
    evaluation: EvaluationRequest,
) -> SignedRequest:
    """Sign a request under the asker's identity.

    Raises:
        MalformedMessageError: a field breaks its rule.
    """
    unsigned = SignedRequest(hub, asker, purpose, case, asked_at, evaluation, bytes(SIGNATURE_SIZE))
    signature = sign(identity, _DOMAIN, unsigned.signed_part)
    return SignedRequest(hub, asker, purpose, case, asked_at, evaluation, signature)


def verify_request(public: Ed25519PublicKey, request: SignedRequest) -> None:
    """Check that the owner of `public` signed this very request.

    Raises:
        InvalidProofError: it did not.
    """
    subject = f"request of {request.asker}"
    verify(public, _DOMAIN, request.signed_part, request.signature, subject)


def commit_case(reference: str, salt: bytes) -> bytes:
    """Commit to a case reference, so that an auditor who is shown both finds the request.

    Args:
        salt: 32 random bytes, kept with the case; a fresh one for every request.

    Raises:
        UnsupportedParameterError: no reference, one that is too long, or another salt.

    Privacy:
        Without the salt the commitment tells nothing of the reference, and two requests
        for one case cannot be linked (SHA-256 as a random oracle).
    """
    if not 1 <= len(reference) <= MAX_REFERENCE or not reference.isprintable():
        raise UnsupportedParameterError(
            f"case reference: must be printable text of 1 to {MAX_REFERENCE} characters"
        )
    if len(salt) != CASE_SALT_SIZE:
        raise UnsupportedParameterError(f"case salt: {len(salt)} bytes, need {CASE_SALT_SIZE}")
    return sha256(join_fields(_CASE_DOMAIN, salt, reference.encode())).digest()


def read_purpose(reader: Reader) -> Purpose:
    """Read the next field as a purpose.

    Raises:
        MalformedMessageError: there is no such purpose.
    """
    try:
        return Purpose(reader.text())
    except ValueError as error:
        raise MalformedMessageError("purpose: unknown") from error
