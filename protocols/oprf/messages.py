"""What travels between client and holders, and between holders at a key set-up.

    client -> holder   EvaluationRequest   key id, request id, blinded elements
    holder -> client   EvaluationAnswer    key id, request id, index, elements, proof
    holder <-> holder  Opening, Verdict    (see `keygen`)

Decoding is strict about every length and range. Elements are judged where they are first
multiplied, since that check is part of the multiplication.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from protocols.codec import Reader, Writer
from protocols.errors import MalformedMessageError
from protocols.group.interface import ELEMENT_SIZE
from protocols.oprf.dleq import PROOF_SIZE
from protocols.oprf.records import KEY_ID_SIZE, VERSION, read_version
from protocols.oprf.suite import MAX_BATCH

REQUEST_ID_SIZE = 16
DIGEST_SIZE = 64


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """A batch of blinded elements for the holders of one key."""

    epoch: int
    key_id: bytes
    request_id: bytes
    blinded: bytes = field(repr=False)

    def encode(self) -> bytes:
        """Write the request."""
        return _header(self.epoch, self.key_id, self.request_id) + _write_batch(self.blinded)

    @classmethod
    def decode(cls, data: bytes) -> EvaluationRequest:
        """Read a request of 1 to 65,536 elements.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        reader = Reader(data, "evaluation request")
        epoch, key_id, request_id = _read_header(reader, "evaluation request")
        blinded = _read_batch(reader, "evaluation request")
        reader.finish()
        return cls(epoch, key_id, request_id, blinded)


@dataclass(frozen=True, slots=True)
class EvaluationAnswer:
    """One holder's partial evaluation of a request, with its proof."""

    epoch: int
    key_id: bytes
    request_id: bytes
    index: int
    evaluated: bytes = field(repr=False)
    proof: bytes = field(repr=False)

    def encode(self) -> bytes:
        """Write the answer."""
        header = _header(self.epoch, self.key_id, self.request_id)
        return header + bytes([self.index]) + _write_batch(self.evaluated) + self.proof

    @classmethod
    def decode(cls, data: bytes) -> EvaluationAnswer:
        """Read an answer of 1 to 65,536 elements.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        reader = Reader(data, "evaluation answer")
        epoch, key_id, request_id = _read_header(reader, "evaluation answer")
        index = reader.u8()
        evaluated = _read_batch(reader, "evaluation answer")
        proof = reader.take(PROOF_SIZE)
        reader.finish()
        return cls(epoch, key_id, request_id, index, evaluated, proof)


@dataclass(frozen=True, slots=True)
class Opening:
    """One dealer's commitments to its polynomial; a proof of possession unless it refreshes."""

    commitments: bytes
    possession: bytes

    def encode(self) -> bytes:
        """Write `count (u8) || commitments || proof, if any`."""
        return bytes([len(self.commitments) // ELEMENT_SIZE]) + self.commitments + self.possession

    @classmethod
    def decode(cls, data: bytes, *, count: int, proven: bool) -> Opening:
        """Read an opening of exactly `count` commitments, with a proof if `proven`.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        reader = Reader(data, "opening")
        if (found := reader.u8()) != count:
            raise MalformedMessageError(f"opening: {found} commitments, expected {count}")
        commitments = reader.take(count * ELEMENT_SIZE)
        possession = reader.take(PROOF_SIZE) if proven else b""
        reader.finish()
        return cls(commitments, possession)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one holder saw of a set-up, and which dealers gave it a wrong share."""

    transcript: bytes
    blamed: tuple[int, ...]

    def encode(self) -> bytes:
        """Write `transcript || count (u8) || indices`."""
        return self.transcript + bytes([len(self.blamed), *self.blamed])

    @classmethod
    def decode(cls, data: bytes, *, holders: int) -> Verdict:
        """Read a verdict; blamed dealers come once each, in rising order.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        reader = Reader(data, "verdict")
        transcript = reader.take(DIGEST_SIZE)
        blamed = tuple(reader.take(reader.u8()))
        reader.finish()
        if list(blamed) != sorted(set(blamed)) or not set(blamed) <= set(range(1, holders + 1)):
            raise MalformedMessageError(
                "verdict: blamed holders are not distinct, rising and known"
            )
        return cls(transcript, blamed)


def _header(epoch: int, key_id: bytes, request_id: bytes) -> bytes:
    return Writer().u8(VERSION).u64(epoch).encode() + key_id + request_id


def _read_header(reader: Reader, subject: str) -> tuple[int, bytes, bytes]:
    read_version(reader, subject)
    return reader.u64(), reader.take(KEY_ID_SIZE), reader.take(REQUEST_ID_SIZE)


def _write_batch(elements: bytes) -> bytes:
    return (len(elements) // ELEMENT_SIZE).to_bytes(4, "big") + elements


def _read_batch(reader: Reader, subject: str) -> bytes:
    count = reader.u32()
    if not 1 <= count <= MAX_BATCH:
        raise MalformedMessageError(f"{subject}: {count} elements, not in 1..{MAX_BATCH}")
    return reader.take(count * ELEMENT_SIZE)
