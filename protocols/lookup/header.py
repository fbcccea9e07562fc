"""What a contributor signs of every version of its table.

Each header names the digest of the one before it, so that a contributor cannot fork its
table and nobody can leave out a version unseen. The number of bucket bits follows from the
count alone: no contributor can cut a table so finely that a bucket tells who is asked for.

Wire format: `version (u8) || hub || epoch (u64) || contributor || number (u32)
|| version (u64) || count (u64) || prefix_bits (u8) || made_at (u64) || root (32)
|| previous (32)`; texts behind their lengths (u32).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocols.codec import Reader, Writer
from protocols.errors import MalformedMessageError
from protocols.lookup.payload import MAX_CONTRIBUTOR
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

VERSION = 1
MAX_PREFIX_BITS = 24
# A delta holds a whole table in one field of 4 GiB at most.
MAX_RECORDS = 50_000_000
NO_DIGEST = bytes(DIGEST_SIZE)

_BUCKET_RECORDS = 256
_SUBJECT = "table header"
_DIGEST_DOMAIN = b"lianfang/lookup/header/v1"
_SIGNATURE_DOMAIN = b"lianfang/lookup/header-signature/v1"


@dataclass(frozen=True, slots=True)
class TableHeader:
    """One version of one contributor's table in one epoch.

    Args:
        number: the contributor's number in the epoch manifest.
        version: from 1, one more with every delta.
        prefix_bits: always `choose_prefix_bits(count)`.
        previous: digest of the header of the version before; zeros for version 1.
        made_at: Unix seconds, by the contributor's clock.
    """

    hub: str
    epoch: int
    contributor: str
    number: int
    version: int
    count: int
    prefix_bits: int
    root: bytes
    previous: bytes
    made_at: int

    def __post_init__(self) -> None:
        check_hub(self.hub, f"{_SUBJECT}: hub")
        check_name(self.contributor, f"{_SUBJECT}: contributor")
        check_whole(self.epoch, f"{_SUBJECT}: epoch")
        check_whole(self.number, f"{_SUBJECT}: number", least=1, most=MAX_CONTRIBUTOR)
        check_whole(self.version, f"{_SUBJECT}: version", least=1)
        check_whole(self.count, f"{_SUBJECT}: count", most=MAX_RECORDS)
        bits = choose_prefix_bits(self.count)
        check_whole(self.prefix_bits, f"{_SUBJECT}: prefix_bits", least=bits, most=bits)
        check_size(self.root, DIGEST_SIZE, f"{_SUBJECT}: root")
        check_size(self.previous, DIGEST_SIZE, f"{_SUBJECT}: previous")
        check_whole(self.made_at, f"{_SUBJECT}: made_at")
        if (self.version == 1) != (self.previous == NO_DIGEST):
            raise MalformedMessageError(
                f"{_SUBJECT}: previous must be zeros for version 1 and for no other"
            )

    def encode(self) -> bytes:
        """Write the header."""
        out = Writer().u8(VERSION).text(self.hub).u64(self.epoch).text(self.contributor)
        out.u32(self.number).u64(self.version).u64(self.count).u8(self.prefix_bits)
        return out.u64(self.made_at).encode() + self.root + self.previous

    @classmethod
    def decode(cls, data: bytes) -> TableHeader:
        """Read a header.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        reader = Reader(data, _SUBJECT)
        if (found := reader.u8()) != VERSION:
            raise MalformedMessageError(f"{_SUBJECT}: format {found}, expected {VERSION}")
        hub, epoch, contributor = reader.text(), reader.u64(), reader.text()
        number, version, count = reader.u32(), reader.u64(), reader.u64()
        prefix_bits, made_at = reader.u8(), reader.u64()
        root, previous = reader.take(DIGEST_SIZE), reader.take(DIGEST_SIZE)
        reader.finish()
        return cls(
            hub, epoch, contributor, number, version, count, prefix_bits, root, previous, made_at
        )

    @property
    def digest(self) -> bytes:
        """Name this version in 32 bytes; the next one carries it as `previous`."""
        return sha256(_DIGEST_DOMAIN + self.encode()).digest()


@dataclass(frozen=True, slots=True)
class SignedHeader:
    """A header with its contributor's signature, which `verify_header` judges."""

    header: TableHeader
    signature: bytes = field(repr=False)

    def __post_init__(self) -> None:
        check_size(self.signature, SIGNATURE_SIZE, "signed header: signature")

    def encode(self) -> bytes:
        """Write `length (u32) || header || signature`."""
        return Writer().block(self.header.encode()).encode() + self.signature

    @classmethod
    def decode(cls, data: bytes) -> SignedHeader:
        """Read a signed header.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        reader = Reader(data, "signed header")
        header = TableHeader.decode(reader.block())
        signature = reader.take(SIGNATURE_SIZE)
        reader.finish()
        return cls(header, signature)


def sign_header(identity: Ed25519PrivateKey, header: TableHeader) -> SignedHeader:
    """Sign a header with the identity key of its contributor."""
    return SignedHeader(header, sign(identity, _SIGNATURE_DOMAIN, header.encode()))


def verify_header(public: Ed25519PublicKey, signed: SignedHeader) -> TableHeader:
    """Return the header only if the contributor with this identity has signed it.

    Raises:
        InvalidProofError: it has not, or has signed another one.
    """
    subject = f"table header of {signed.header.contributor}"
    verify(public, _SIGNATURE_DOMAIN, signed.header.encode(), signed.signature, subject)
    return signed.header


def choose_prefix_bits(count: int) -> int:
    """Return how many leading bits of a tag name its bucket: 256 to 511 records in the mean."""
    return min(max((count // _BUCKET_RECORDS).bit_length() - 1, 0), MAX_PREFIX_BITS)
