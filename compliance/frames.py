"""How records stand in a journal file: framed, checked and chained.

    file   = magic (16 bytes) || frame*
    frame  = length (u32) || sequence (u64) || crc32 of these 12 bytes (u32)
             || record (length bytes) || chain (32 bytes)
    chain  = SHA-256(chain of the frame before || header || record); the first: of the magic

A write that a crash cut short is told from damage by three signs, and by nothing else: a
header that is not whole, a whole and sound header without its whole record, or a rest of
the file that a failed disk left as zeros. The header carries its own check because a length
damaged in the middle of the file would look like a short tail and take all that follows.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass, field

from compliance.errors import LogCorruptError

MAGIC = b"lianfang-log-v1\n"
MAX_RECORD = 1 << 20
_FIELDS = struct.Struct(">IQ")
_CRC = struct.Struct(">I")
_HEADER_SIZE = _FIELDS.size + _CRC.size
_CHAIN_SIZE = 32


@dataclass(slots=True)
class Position:
    """How far a reader has come, and what the next frame must continue."""

    offset: int = len(MAGIC)
    sequence: int = 0
    chain: bytes = field(default_factory=lambda: hashlib.sha256(MAGIC).digest())


def encode_frame(record: bytes, at: Position) -> bytes:
    """Write the frame that continues `at`."""
    if not 1 <= len(record) <= MAX_RECORD:
        raise ValueError(f"record: {len(record)} bytes, expected 1 to {MAX_RECORD}")
    fields = _FIELDS.pack(len(record), at.sequence)
    header = fields + _CRC.pack(zlib.crc32(fields))
    return header + record + _next_chain(at.chain, header, record)


def read_frame(data: bytes, start: int, at: Position) -> bytes | None:
    """Return the record at `start`, or None if a crash cut the frame short there.

    Args:
        data: the file from some offset to its end.
        start: where in `data` the frame begins.
        at: what the frame must continue; moved on if there is a record.

    Raises:
        LogCorruptError: the bytes are neither a sound frame nor a torn one.
    """
    header = data[start : start + _HEADER_SIZE]
    if len(header) < _HEADER_SIZE:
        return None
    length, sequence = _FIELDS.unpack_from(header)
    if header[_FIELDS.size :] != _CRC.pack(zlib.crc32(header[: _FIELDS.size])):
        if not any(data[start:]):
            return None
        raise LogCorruptError(f"journal: header of record {at.sequence} is damaged")
    if sequence != at.sequence or not 1 <= length <= MAX_RECORD:
        raise LogCorruptError(f"journal: record {sequence} found, expected {at.sequence}")
    end = start + _HEADER_SIZE + length
    record, chain = data[start + _HEADER_SIZE : end], data[end : end + _CHAIN_SIZE]
    if len(chain) < _CHAIN_SIZE:
        return None
    expected = _next_chain(at.chain, header, record)
    if chain != expected:
        # The last sector of the last frame never reached the disk.
        if end + _CHAIN_SIZE == len(data) and not any(chain):
            return None
        raise LogCorruptError(f"journal: record {at.sequence} is not what was written")
    at.offset += _HEADER_SIZE + length + _CHAIN_SIZE
    at.sequence += 1
    at.chain = expected
    return record


def _next_chain(chain: bytes, header: bytes, record: bytes) -> bytes:
    return hashlib.sha256(chain + header + record).digest()
