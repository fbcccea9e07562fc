"""What the hub signs for each request that it answered, and the answers that go with it.

The asker keeps the receipt: with it, it can show how many elements it asked for, under
which purpose and case, and what stood on its quota; and it can show a hub that counts or
logs otherwise to be wrong.

Wire format of a receipt: `version (u8) || hub || asker || request id (16) || request digest
(32) || count (u32) || purpose || case (32) || holders (u8, each a text) || at || used
|| quota (u64 each) || signature (64)`; of a reply: `version (u8) || answers (u8, each
behind its length) || receipt`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocols.codec import Reader, Writer
from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.group.interface import ELEMENT_SIZE
from protocols.lookup.request import CASE_SIZE, Purpose, SignedRequest, read_purpose
from protocols.lookup.signing import (
    DIGEST_SIZE,
    SIGNATURE_SIZE,
    check_hub,
    check_name,
    check_size,
    check_whole,
    sign,
    verify,
)
from protocols.oprf.messages import REQUEST_ID_SIZE, EvaluationAnswer
from protocols.oprf.shares import MAX_HOLDERS
from protocols.oprf.suite import MAX_BATCH

VERSION = 1
_DOMAIN = b"lianfang/lookup/receipt/v1"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was asked and answered, and where the asker's quota stands at the hub.

    `holders` answered, in the order of their answers; `used` and `quota` are elements of
    the epoch, this request included.
    """

    hub: str
    asker: str
    request_id: bytes
    request_digest: bytes
    count: int
    purpose: Purpose
    case: bytes
    holders: tuple[str, ...]
    at: int
    used: int
    quota: int
    signature: bytes = field(repr=False)

    def __post_init__(self) -> None:
        check_hub(self.hub, "receipt: hub")
        check_name(self.asker, "receipt: asker")
        check_size(self.request_id, REQUEST_ID_SIZE, "receipt: request id")
        check_size(self.request_digest, DIGEST_SIZE, "receipt: request digest")
        check_whole(self.count, "receipt: count", least=1, most=MAX_BATCH)
        check_size(self.case, CASE_SIZE, "receipt: case")
        _check_holders(self.holders)
        for name in ("at", "used", "quota"):
            check_whole(getattr(self, name), f"receipt: {name}")
        check_size(self.signature, SIGNATURE_SIZE, "receipt: signature")

    def encode(self) -> bytes:
        """Write the receipt."""
        return self.signed_part + self.signature

    @classmethod
    def decode(cls, data: bytes) -> Receipt:
        """Read a receipt; `verify_receipt` judges its signature.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        reader = Reader(data, "receipt")
        _read_version(reader, "receipt")
        hub, asker = reader.text(), reader.text()
        request_id, digest = reader.take(REQUEST_ID_SIZE), reader.take(DIGEST_SIZE)
        count, purpose, case = reader.u32(), read_purpose(reader), reader.take(CASE_SIZE)
        holders = tuple(reader.text() for _ in range(reader.u8()))
        at, used, quota = reader.u64(), reader.u64(), reader.u64()
        signature = reader.take(SIGNATURE_SIZE)
        reader.finish()
        return cls(
            hub,
            asker,
            request_id,
            digest,
            count,
            purpose,
            case,
            holders,
            at,
            used,
            quota,
            signature,
        )

    @property
    def signed_part(self) -> bytes:
        """What the signature covers: everything before it."""
        head = Writer().u8(VERSION).text(self.hub).text(self.asker).encode()
        middle = Writer().u32(self.count).text(self.purpose).encode()
        tail = Writer().u8(len(self.holders))
        for name in self.holders:
            tail.text(name)
        tail.u64(self.at).u64(self.used).u64(self.quota)
        return head + self.request_id + self.request_digest + middle + self.case + tail.encode()


def sign_receipt(
    identity: Ed25519PrivateKey,
    request: SignedRequest,
    *,
    holders: Sequence[str],
    at: int,
    used: int,
    quota: int,
) -> Receipt:
    """Sign for a request that was answered, under the hub's identity.

    Raises:
        MalformedMessageError: a field breaks its rule.
    """
    unsigned = Receipt(
        hub=request.hub,
        asker=request.asker,
        request_id=request.request_id,
        request_digest=request.digest,
        count=request.count,
        purpose=request.purpose,
        case=request.case,
        holders=tuple(holders),
        at=at,
        used=used,
        quota=quota,
        signature=bytes(SIGNATURE_SIZE),
    )
    return replace(unsigned, signature=sign(identity, _DOMAIN, unsigned.signed_part))


def verify_receipt(
    public: Ed25519PublicKey, receipt: Receipt, request: SignedRequest | None = None
) -> None:
    """Check that the hub signed this receipt and, if a request is given, for that request.

    Raises:
        InvalidProofError: it did not, or it signed for another request.
    """
    verify(public, _DOMAIN, receipt.signed_part, receipt.signature, f"receipt of {receipt.hub}")
    if request is not None and _subject(receipt) != (
        request.hub,
        request.asker,
        request.request_id,
        request.digest,
        request.count,
        request.purpose,
        request.case,
    ):
        raise InvalidProofError(f"receipt of {receipt.hub}: is for another request")


@dataclass(frozen=True, slots=True)
class Reply:
    """The holders' answers to one request, and the hub's receipt for it."""

    answers: tuple[EvaluationAnswer, ...]
    receipt: Receipt

    def __post_init__(self) -> None:
        if len(self.answers) != len(self.receipt.holders):
            raise MalformedMessageError(
                f"reply: {len(self.answers)} answers, "
                f"its receipt names {len(self.receipt.holders)} holders"
            )
        if len({answer.index for answer in self.answers}) != len(self.answers):
            raise MalformedMessageError("reply: two answers of one holder")
        for answer in self.answers:
            if answer.request_id != self.receipt.request_id:
                raise MalformedMessageError("reply: an answer belongs to another request")
            if len(answer.evaluated) != self.receipt.count * ELEMENT_SIZE:
                raise MalformedMessageError("reply: an answer has another count than the receipt")

    def encode(self) -> bytes:
        """Write the reply."""
        out = Writer().u8(VERSION).u8(len(self.answers))
        for answer in self.answers:
            out.block(answer.encode())
        return out.block(self.receipt.encode()).encode()

    @classmethod
    def decode(cls, data: bytes) -> Reply:
        """Read a reply; its receipt and its answers are judged where they are used.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        reader = Reader(data, "reply")
        _read_version(reader, "reply")
        answers = tuple(EvaluationAnswer.decode(reader.block()) for _ in range(reader.u8()))
        receipt = Receipt.decode(reader.block())
        reader.finish()
        return cls(answers, receipt)


def _subject(receipt: Receipt) -> tuple[str, str, bytes, bytes, int, Purpose, bytes]:
    """Return what a receipt has in common with its request."""
    return (
        receipt.hub,
        receipt.asker,
        receipt.request_id,
        receipt.request_digest,
        receipt.count,
        receipt.purpose,
        receipt.case,
    )


def _check_holders(holders: tuple[str, ...]) -> None:
    if not 1 <= len(holders) <= MAX_HOLDERS:
        raise MalformedMessageError(f"receipt: {len(holders)} holders, not in 1..{MAX_HOLDERS}")
    for name in holders:
        check_name(name, "receipt: holder")
    if len(set(holders)) != len(holders):
        raise MalformedMessageError("receipt: two holders of one name")


def _read_version(reader: Reader, subject: str) -> None:
    if (version := reader.u8()) != VERSION:
        raise MalformedMessageError(f"{subject}: version {version}, expected {VERSION}")
