"""The few spellings that all text formats of the log share: lines, numbers, base64.

Each value has exactly one spelling, so that what was decoded is written back byte for byte.
"""

from __future__ import annotations

import base64
import binascii
import re

from protocols.errors import MalformedMessageError

MAX_SIZE = 2**63 - 1  # sizes, indices and times fit a signed 64-bit integer
HASH_SIZE = 32

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


def parse_text(data: bytes, subject: str) -> str:
    """Read UTF-8 without control characters other than newline."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise MalformedMessageError(f"{subject}: not utf-8") from error
    if has_control(text):
        raise MalformedMessageError(f"{subject}: a control character")
    return text


def has_control(text: str) -> bool:
    """Whether `text` has a character below U+0020 other than newline."""
    return _CONTROL.search(text) is not None


def parse_decimal(text: str, subject: str) -> int:
    """Read a number of 0 to 2^63 - 1 in ASCII digits without leading zeros."""
    if not _DECIMAL.fullmatch(text) or (value := int(text)) > MAX_SIZE:
        raise MalformedMessageError(
            f"{subject}: not a decimal number below 2^63 without leading zeros"
        )
    return value


def format_base64(data: bytes) -> str:
    """Write standard base64 with padding (RFC 4648, section 4)."""
    return base64.b64encode(data).decode()


def parse_base64(text: str, subject: str) -> bytes:
    """Read standard base64 in its only canonical spelling (RFC 4648, sections 3.5 and 4)."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedMessageError(f"{subject}: not base64") from error
    if format_base64(data) != text:  # unused bits that are not zero
        raise MalformedMessageError(f"{subject}: base64 is not canonical")
    return data


def parse_hash(text: str, subject: str) -> bytes:
    """Read one SHA-256 hash in base64."""
    found = parse_base64(text, subject)
    if len(found) != HASH_SIZE:
        raise MalformedMessageError(f"{subject}: {len(found)} bytes, expected {HASH_SIZE}")
    return found
