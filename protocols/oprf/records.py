"""What stays of a key set-up: the public record, and each holder's secret share.

The record goes into the epoch manifest, which all holders sign; the share goes to its
holder's own disk and nowhere else. Decoding is strict about every length and range;
`threshold` checks that elements and secrets belong together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha512

from protocols.codec import Reader, Writer
from protocols.errors import MalformedMessageError
from protocols.group.encoding import decode_scalar
from protocols.group.interface import ELEMENT_SIZE, SCALAR_SIZE
from protocols.oprf.shares import MIN_THRESHOLD
from protocols.oprf.suite import IDENTIFIER

VERSION = 1
KEY_ID_SIZE = 16
MAX_NAME_SIZE = 64


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """The public side of one shared key: what the epoch manifest carries.

    `generation` counts the refreshes of the shares; the public key stays the same in all
    of them, the public shares do not. Holder number i, counted from 1, is `holders[i - 1]`.
    """

    epoch: int
    generation: int
    threshold: int
    holders: tuple[str, ...]
    public: bytes
    public_shares: tuple[bytes, ...]

    def encode(self) -> bytes:
        """Write the record."""
        out = Writer().u8(VERSION).block(IDENTIFIER).u64(self.epoch).u32(self.generation)
        out.u8(self.threshold).u8(len(self.holders))
        for name in self.holders:
            out.text(name)
        return out.encode() + self.public + b"".join(self.public_shares)

    @classmethod
    def decode(cls, data: bytes) -> KeyRecord:
        """Read a record; `threshold.verify_record` judges its elements.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        reader = Reader(data, "key record")
        read_version(reader, "key record")
        if reader.block() != IDENTIFIER:
            raise MalformedMessageError("key record: another suite than ristretto255-SHA512")
        epoch, generation, threshold, count = reader.u64(), reader.u32(), reader.u8(), reader.u8()
        if not MIN_THRESHOLD <= threshold <= count:
            raise MalformedMessageError(f"key record: threshold {threshold} of {count} holders")
        holders = tuple(_read_name(reader) for _ in range(count))
        if len(set(holders)) != count:
            raise MalformedMessageError("key record: two holders of one name")
        public = reader.take(ELEMENT_SIZE)
        shares = tuple(reader.take(ELEMENT_SIZE) for _ in range(count))
        reader.finish()
        return cls(epoch, generation, threshold, holders, public, shares)

    @property
    def key_id(self) -> bytes:
        """Name this key and this generation of its shares in 16 bytes."""
        return sha512(b"lianfang/oprf/key-id/v1" + self.encode()).digest()[:KEY_ID_SIZE]


@dataclass(frozen=True, slots=True)
class KeyShare:
    """One holder's secret share, with the public record it belongs to."""

    record: KeyRecord
    index: int
    scalar: bytes = field(repr=False, compare=False)

    def encode(self) -> bytes:
        """Write the share for its holder's own disk; the result is secret."""
        return (
            Writer().u8(VERSION).block(self.record.encode()).u8(self.index).encode() + self.scalar
        )

    @classmethod
    def decode(cls, data: bytes) -> KeyShare:
        """Read a share; `threshold.load_share` also checks it against its record.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        reader = Reader(data, "key share")
        read_version(reader, "key share")
        record, index = KeyRecord.decode(reader.block()), reader.u8()
        if not 1 <= index <= len(record.holders):
            raise MalformedMessageError(f"key share: index {index} not in 1..{len(record.holders)}")
        scalar = decode_scalar(reader.take(SCALAR_SIZE), "key share")
        reader.finish()
        return cls(record, index, scalar)


def read_version(reader: Reader, subject: str) -> None:
    """Refuse any version of a message but this one."""
    if (version := reader.u8()) != VERSION:
        raise MalformedMessageError(f"{subject}: version {version}, expected {VERSION}")


def _read_name(reader: Reader) -> str:
    name = reader.text()
    if not 1 <= len(name.encode()) <= MAX_NAME_SIZE or not name.isprintable():
        raise MalformedMessageError(
            f"key record: a name is not 1 to {MAX_NAME_SIZE} printable bytes"
        )
    return name
