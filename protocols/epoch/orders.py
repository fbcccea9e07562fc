"""What the hub asks key holders over their standing links, and what they answer.

    kind              body                       answer
    evaluate          SignedRequest              EvaluationAnswer
    keygen.announce   KeygenTerms                announcement (`protocols.seal`)
    keygen.run        RunOrder                   SignedRecord, after the set-up on the relay
    epoch.activate    SignedManifest, as JSON    digest of the manifest
    epoch.end         EndOrder                   epoch, in 8 bytes

`keygen.announce` is where a holder compares the terms with its own rules; a refusal there
costs nothing. All but `keygen.run` may be repeated; a broken run needs a new session.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from protocols.codec import Reader, Writer
from protocols.errors import MalformedMessageError
from protocols.lookup.signing import SIGNATURE_SIZE, check_name, check_whole
from protocols.oprf.records import KeyRecord
from protocols.oprf.setup import SESSION_SIZE
from protocols.oprf.shares import MAX_HOLDERS
from protocols.seal.announcement import ANNOUNCEMENT_SIZE

EVALUATE = "evaluate"
ANNOUNCE = "keygen.announce"
RUN = "keygen.run"
ACTIVATE = "epoch.activate"
END = "epoch.end"
# The phase of the relay run in which the holders exchange openings and shares.
PHASE = "keygen"
VERSION = 1


@dataclass(frozen=True, slots=True)
class RunOrder:
    """All announcements of one set-up: with these the holders can seal and begin."""

    session: bytes
    announcements: Mapping[str, bytes] = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.session) != SESSION_SIZE:
            raise MalformedMessageError(
                f"run order: session of {len(self.session)} bytes, expected {SESSION_SIZE}"
            )
        if not 1 <= len(self.announcements) <= MAX_HOLDERS:
            raise MalformedMessageError(f"run order: not 1 to {MAX_HOLDERS} announcements")
        for name, announcement in self.announcements.items():
            check_name(name, "run order: a holder's name")
            if len(announcement) != ANNOUNCEMENT_SIZE:
                raise MalformedMessageError(f"run order: announcement of {name} has another size")

    def encode(self) -> bytes:
        """Write the order, holders in the order of their names."""
        head = Writer().u8(VERSION).encode() + self.session
        out = Writer().u8(len(self.announcements))
        for name, announcement in sorted(self.announcements.items()):
            out.text(name).block(announcement)
        return head + out.encode()

    @classmethod
    def decode(cls, data: bytes) -> RunOrder:
        """Read an order.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        reader = Reader(data, "run order")
        _read_version(reader, "run order")
        session = reader.take(SESSION_SIZE)
        listed = [(reader.text(), reader.block()) for _ in range(reader.u8())]
        reader.finish()
        names = [name for name, _ in listed]
        if names != sorted(set(names)):
            raise MalformedMessageError("run order: names are not distinct and rising")
        return cls(session, dict(listed))


@dataclass(frozen=True, slots=True)
class SignedRecord:
    """What a holder saw come out of a set-up, and its signature of the manifest over it."""

    record: KeyRecord
    signature: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.signature) != SIGNATURE_SIZE:
            raise MalformedMessageError(
                f"signed record: signature of {len(self.signature)} bytes, "
                f"expected {SIGNATURE_SIZE}"
            )

    def encode(self) -> bytes:
        """Write the record and the signature."""
        return Writer().u8(VERSION).block(self.record.encode()).encode() + self.signature

    @classmethod
    def decode(cls, data: bytes) -> SignedRecord:
        """Read what `encode` wrote.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        reader = Reader(data, "signed record")
        _read_version(reader, "signed record")
        record = KeyRecord.decode(reader.block())
        signature = reader.take(SIGNATURE_SIZE)
        reader.finish()
        return cls(record, signature)


@dataclass(frozen=True, slots=True)
class EndOrder:
    """The share of an epoch is to be destroyed before its time."""

    epoch: int

    def __post_init__(self) -> None:
        check_whole(self.epoch, "end order: epoch")

    def encode(self) -> bytes:
        """Write the order."""
        return Writer().u8(VERSION).u64(self.epoch).encode()

    @classmethod
    def decode(cls, data: bytes) -> EndOrder:
        """Read an order.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        reader = Reader(data, "end order")
        _read_version(reader, "end order")
        epoch = reader.u64()
        reader.finish()
        return cls(epoch)


def _read_version(reader: Reader, subject: str) -> None:
    if (version := reader.u8()) != VERSION:
        raise MalformedMessageError(f"{subject}: version {version}, expected {VERSION}")
