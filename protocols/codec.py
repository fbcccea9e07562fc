"""Strict reading and writing of binary messages.

Integers are big-endian and unsigned, fields are length-prefixed, and nothing may
follow the last one. Every defect is a `MalformedMessageError`. Importable without torch.
"""

from __future__ import annotations

import json
import math
from typing import Any

from protocols.errors import MalformedMessageError


class Writer:
    """Build one message field by field."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def u8(self, value: int) -> Writer:
        """Append one byte."""
        self._parts.append(value.to_bytes(1, "big"))
        return self

    def u32(self, value: int) -> Writer:
        """Append four bytes."""
        self._parts.append(value.to_bytes(4, "big"))
        return self

    def u64(self, value: int) -> Writer:
        """Append eight bytes."""
        self._parts.append(value.to_bytes(8, "big"))
        return self

    def block(self, value: bytes) -> Writer:
        """Append `length (u32) || value`."""
        self._parts += [len(value).to_bytes(4, "big"), value]
        return self

    def text(self, value: str) -> Writer:
        """Append UTF-8 text as a block."""
        return self.block(value.encode())

    def encode(self) -> bytes:
        """Return the whole message."""
        return b"".join(self._parts)


class Reader:
    """Parse one message field by field; `finish` refuses anything left over."""

    def __init__(self, data: bytes, subject: str) -> None:
        self._data = memoryview(data)
        self._at = 0
        self._subject = subject

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        if len(self._data) - self._at < size:
            left = len(self._data) - self._at
            raise MalformedMessageError(f"{self._subject}: {left} bytes left, need {size}")
        self._at += size
        return bytes(self._data[self._at - size : self._at])

    def u8(self) -> int:
        """Return the next byte."""
        return self.take(1)[0]

    def u32(self) -> int:
        """Return the next four bytes."""
        return int.from_bytes(self.take(4), "big")

    def u64(self) -> int:
        """Return the next eight bytes."""
        return int.from_bytes(self.take(8), "big")

    def block(self) -> bytes:
        """Return the next length-prefixed field."""
        return self.take(self.u32())

    def text(self) -> str:
        """Return the next field as UTF-8 text."""
        try:
            return self.block().decode()
        except UnicodeDecodeError as error:
            raise MalformedMessageError(f"{self._subject}: text is not utf-8") from error

    def finish(self) -> None:
        """Refuse trailing bytes."""
        left = len(self._data) - self._at
        if left:
            raise MalformedMessageError(f"{self._subject}: {left} trailing bytes")


def canonical_json(value: Any) -> bytes:
    """Write JSON with sorted keys, no spaces and no NaN, the same bytes on every machine."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def parse_json(data: bytes, subject: str) -> Any:
    """Read JSON strictly: UTF-8 throughout, finite numbers, no duplicate keys.

    Raises:
        MalformedMessageError: on any other byte string.
    """
    try:
        value = json.loads(
            data.decode(),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
        if b"\\u" in data:
            # An escape can name half a surrogate pair, which is no text and cannot be written.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise MalformedMessageError(f"{subject}: not valid JSON") from error
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("number out of range")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(name)
