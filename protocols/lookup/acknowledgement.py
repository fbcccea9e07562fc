"""What a reader signs once it searches a version of a table: proof that a correction arrived.

    reader -> hub            SignedAcknowledgement, when the version is in force at the reader
    hub -> contributor       the newest of every reader, as they were signed

A contributor that withdrew a report thus knows who applied the table without it, and need
not believe the hub: nobody but the reader can sign, and the digest names one version only.

Wire format: `version (u8) || hub || epoch (u64) || contributor || reader || table version
(u64) || applied_at (u64) || header (32)`; texts behind their lengths (u32).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocols.codec import Reader, Writer
from protocols.errors import MalformedMessageError
from protocols.lookup.header import TableHeader
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
_SUBJECT = "acknowledgement"
_DOMAIN = b"lianfang/lookup/acknowledgement/v1"


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """One reader's word that it applies one version of one contributor's table.

    Args:
        version: of the table, from 1.
        header: digest of the version's header, which names it beyond its number.
        applied_at: Unix seconds, by the reader's clock.
    """

    hub: str
    epoch: int
    contributor: str
    reader: str
    version: int
    header: bytes
    applied_at: int

    def __post_init__(self) -> None:
        check_hub(self.hub, f"{_SUBJECT}: hub")
        check_whole(self.epoch, f"{_SUBJECT}: epoch")
        check_name(self.contributor, f"{_SUBJECT}: contributor")
        check_name(self.reader, f"{_SUBJECT}: reader")
        check_whole(self.version, f"{_SUBJECT}: version", least=1)
        check_size(self.header, DIGEST_SIZE, f"{_SUBJECT}: header")
        check_whole(self.applied_at, f"{_SUBJECT}: applied_at")

    @classmethod
    def of(cls, header: TableHeader, *, reader: str, now: int) -> Acknowledgement:
        """Return what a reader says of the version with this header."""
        return cls(
            header.hub, header.epoch, header.contributor, reader, header.version, header.digest, now
        )

    def covers(self, header: TableHeader) -> bool:
        """Report whether this very version is meant."""
        return self == Acknowledgement.of(header, reader=self.reader, now=self.applied_at)

    def encode(self) -> bytes:
        """Write the statement, as it is signed."""
        out = Writer().u8(VERSION).text(self.hub).u64(self.epoch).text(self.contributor)
        out.text(self.reader).u64(self.version).u64(self.applied_at)
        return out.encode() + self.header

    @classmethod
    def decode(cls, data: bytes) -> Acknowledgement:
        """Read a statement.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        reader = Reader(data, _SUBJECT)
        if (found := reader.u8()) != VERSION:
            raise MalformedMessageError(f"{_SUBJECT}: format {found}, expected {VERSION}")
        hub, epoch, contributor, name = reader.text(), reader.u64(), reader.text(), reader.text()
        version, applied_at, header = reader.u64(), reader.u64(), reader.take(DIGEST_SIZE)
        reader.finish()
        return cls(hub, epoch, contributor, name, version, header, applied_at)


@dataclass(frozen=True, slots=True)
class SignedAcknowledgement:
    """A statement with its reader's signature, which `verify_acknowledgement` judges."""

    statement: Acknowledgement
    signature: bytes = field(repr=False)

    def __post_init__(self) -> None:
        check_size(self.signature, SIGNATURE_SIZE, f"signed {_SUBJECT}: signature")

    def encode(self) -> bytes:
        """Write `length (u32) || statement || signature`."""
        return Writer().block(self.statement.encode()).encode() + self.signature

    @classmethod
    def decode(cls, data: bytes) -> SignedAcknowledgement:
        """Read a signed statement.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        reader = Reader(data, f"signed {_SUBJECT}")
        statement = Acknowledgement.decode(reader.block())
        signature = reader.take(SIGNATURE_SIZE)
        reader.finish()
        return cls(statement, signature)


def sign_acknowledgement(
    identity: Ed25519PrivateKey, statement: Acknowledgement
) -> SignedAcknowledgement:
    """Sign a statement with the identity key of its reader."""
    return SignedAcknowledgement(statement, sign(identity, _DOMAIN, statement.encode()))


def verify_acknowledgement(
    public: Ed25519PublicKey, signed: SignedAcknowledgement
) -> Acknowledgement:
    """Return the statement only if the reader with this identity has signed it.

    Raises:
        InvalidProofError: it has not, or has signed another one.
    """
    subject = f"{_SUBJECT} of {signed.statement.reader}"
    verify(public, _DOMAIN, signed.statement.encode(), signed.signature, subject)
    return signed.statement
