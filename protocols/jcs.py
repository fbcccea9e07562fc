"""JSON in the one spelling of RFC 8785, so that what is hashed or signed has one form.

`codec.canonical_json` writes the same bytes for whole numbers and plain keys; it differs in
floating-point numbers (`1e-07` for `1e-7`, `2.0` for `2`) and in the order of keys beyond the
basic plane, and it reads other spellings. What must be checked by others uses this module.

Source:
    RFC 8785 (JSON Canonicalization Scheme); numbers as ECMA-262, section Number::toString.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any

from protocols.codec import parse_json
from protocols.errors import MalformedMessageError

MAX_DEPTH = 32
# Whole numbers beyond this are not all doubles, and JSON's numbers are doubles.
MAX_SAFE_INTEGER = 2**53 - 1
_LAST_PLAIN = 21  # ECMA-262 writes decimal places from 10^-6 up to 10^21 without an exponent
_FIRST_PLAIN = -6
_EASY = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
_HARD = re.compile(rb"[\[,:]-?[0-9]+(?:[.eE]|(?<=[0-9]{16}))")


def encode_jcs(value: Any) -> bytes:
    """Write a JSON value in its only canonical form.

    Raises:
        ValueError: not JSON, not Unicode, deeper than 32, or a number that no double holds.
    """
    if isinstance(value, dict) and _is_plain(value, 1):
        return _EASY.encode(value).encode()
    parts: list[str] = []
    _write(value, parts, 0)
    return "".join(parts).encode()


def decode_jcs(data: bytes, subject: str) -> Any:
    """Read a JSON value that is written canonically; a whole number from 2^53 on is a double.

    Raises:
        MalformedMessageError: on any other byte string.
    """
    value = parse_json(data, subject)
    easy = _is_easy(data)
    try:
        canonical = _EASY.encode(value).encode() if easy else encode_jcs(value)
    except ValueError as error:
        raise MalformedMessageError(f"{subject}: not canonical JSON") from error
    if canonical != data:
        raise MalformedMessageError(f"{subject}: not canonical JSON")
    return value if easy else _as_doubles(value)


def _is_plain(value: Any, depth: int) -> bool:
    # What has no fractions, no large numbers and no key beyond ASCII is written alike by the
    # library, several times faster; half a surrogate pair fails in both.
    match value:
        case None | str() | bool():
            return True
        case int():
            return -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER
        case dict():
            return depth <= MAX_DEPTH and all(
                isinstance(key, str) and key.isascii() and _is_plain(item, depth + 1)
                for key, item in value.items()
            )
        case list() | tuple():
            return depth <= MAX_DEPTH and all(_is_plain(item, depth + 1) for item in value)
        case _:
            return False


def _is_easy(data: bytes) -> bool:
    # An object without fractions, exponents, large numbers and characters beyond ASCII, and
    # with few brackets, is written alike by the library, ten times faster than by `_write`. A
    # text that only looks like a number costs time, no more.
    depth = data.count(b"[") + data.count(b"{")
    plain = data.startswith(b"{") and data.isascii() and depth <= MAX_DEPTH
    return plain and not _HARD.search(data)


def _as_doubles(value: Any) -> Any:
    # Digits beyond 2^53 are the shortest that name a double, not the digits of its value.
    match value:
        case bool():
            return value
        case int():
            return value if abs(value) <= MAX_SAFE_INTEGER else float(value)
        case list():
            return [_as_doubles(item) for item in value]
        case dict():
            return {key: _as_doubles(item) for key, item in value.items()}
        case _:
            return value


def _write(value: Any, parts: list[str], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"JSON deeper than {MAX_DEPTH}")
    match value:
        case None | bool():
            parts.append({None: "null", True: "true", False: "false"}[value])
        case str():
            parts.append(_text(value))
        case int():
            parts.append(_whole(value))
        case float():
            parts.append(_number(value))
        case list() | tuple():
            _write_list(value, parts, depth + 1)
        case dict():
            _write_object(value, parts, depth + 1)
        case _:
            raise ValueError(f"{type(value).__name__} is not JSON")


def _write_list(items: list[Any] | tuple[Any, ...], parts: list[str], depth: int) -> None:
    parts.append("[")
    for number, item in enumerate(items):
        if number:
            parts.append(",")
        _write(item, parts, depth)
    parts.append("]")


def _write_object(fields: dict[Any, Any], parts: list[str], depth: int) -> None:
    if not all(isinstance(key, str) for key in fields):
        raise ValueError("a key of an object is not text")
    parts.append("{")
    # Keys are sorted by UTF-16 code units, in which big-endian bytes sort alike; a lone
    # surrogate fails here.
    for number, key in enumerate(sorted(fields, key=lambda text: text.encode("utf-16-be"))):
        if number:
            parts.append(",")
        parts += [_text(key), ":"]
        _write(fields[key], parts, depth)
    parts.append("}")


def _text(value: str) -> str:
    value.encode()  # half a surrogate pair is no text
    return json.dumps(value, ensure_ascii=False)


def _whole(value: int) -> str:
    text = str(value)
    if abs(value) > MAX_SAFE_INTEGER and (
        abs(value) >= 10**_LAST_PLAIN or _number(float(value)) != text
    ):
        raise ValueError("a whole number that is not written like the double nearest to it")
    return text


def _number(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError("a number that is not finite")
    if value == 0:
        return "0"  # also for -0
    # repr gives the fewest digits that lead back to the same double, as ECMA-262 asks for.
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    text, point = "".join(map(str, digits)), len(digits) + int(exponent)
    return ("-" if sign else "") + _place_point(text, point)


def _place_point(digits: str, point: int) -> str:
    """Write 0.`digits` x 10^`point` as ECMA-262 does."""
    if len(digits) <= point <= _LAST_PLAIN:
        return digits + "0" * (point - len(digits))
    if 0 < point <= _LAST_PLAIN:
        return f"{digits[:point]}.{digits[point:]}"
    if _FIRST_PLAIN < point <= 0:
        return f"0.{'0' * -point}{digits}"
    rest = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{digits[0]}{rest}e{point - 1:+d}"
