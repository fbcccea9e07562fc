"""What may identify a person or open a door is taken out of a text before it is written anywhere.

It is the last net under every log line, traceback and span, also of libraries: the rule that no
identifier gets there stands, and this is what holds where it was broken. It therefore removes
too much rather than too little: any run of nine digits, spaces and hyphens between them or not,
goes, whether its check digit fits or not.

    national IDs, resident numbers, telephone and account numbers, e-mail addresses
    long hexadecimal and base64 runs: keys, tokens, digests
    what stands behind a label such as `line_id:`, `password=` or `"identifier": `
    in structures, the values of such labels altogether, and every number of nine digits

A text is normalised first as `protocols.identifiers` does it (full-width digits, invisible
characters), so that whatever would be taken as an identifier there is seen here. Two kinds have
no shape of their own, LINE names and opaque numbers: those are known by their label alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

REMOVED = "[removed]"
# A key of which any word is one of these is left out with its value.
DROPPED = frozenset(
    {"account", "accounts", "authorization", "birthday", "body", "case", "cases", "cookie"}
    | {"email", "emails", "identifier", "identifiers", "line", "lineid", "mail", "passphrase"}
    | {"passwd", "password", "passwords", "phone", "phones", "reason", "secret", "secrets"}
    | {"subject", "subjects", "token", "tokens", "value", "values"}
)

_MAX_DEPTH = 8
_LARGEST_NUMBER = 10**8  # with one digit more it could be the number of a person
# What `protocols.identifiers` takes out between the characters of an identifier.
_GAP = r"[\s\-\u2010-\u2015\u2212]*"
_PHONE_GAP = r"[\s\-\u2010-\u2015\u2212().]*"
_INVISIBLE = re.compile(r"[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]+")
_WORD = re.compile(r"[^\W_]+")
# Keys of programs that write their words together: `lineId`, `caseReference`.
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

# Loud labels are enough with a colon; the others are common words of our own messages.
_LOUD = r"line[\s_-]?id|identifier|passw(?:or)?d|passphrase|secret|token|authorization|cookie"
_QUIET = r"line|case|value|reason|subject|account|phone|e?mail"
_TEXT = (
    r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|(?:(?:Bearer|Basic)\s+)?(?:\[removed\]|[^\s,;}\])])+"
)
_LABELLED = re.compile(
    rf"(?:(?:{_LOUD})s?[\"']?\s*[:=]\s*|(?<![^\W_])(?:{_QUIET})s?(?:[\"']\s*:\s*|[\"']?\s*=\s*))"
    rf"({_TEXT})",
    re.IGNORECASE,
)
_EMAIL = re.compile(r"[\w!#$%&'*+/=?^`{|}~.-]+@[^\s@,;:<>()\[\]{}\"'/\\]+")
_HEX = re.compile(r"[0-9A-Fa-f]{32,}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{32,}={0,2}")
_CLASSES = (re.compile(r"[A-Z]"), re.compile(r"[a-z]"), re.compile(r"[0-9]"))
_OLD_RESIDENT = re.compile(rf"[^\W\d_]{_GAP}[A-Da-d](?:{_GAP}\d){{8}}(?!{_GAP}\d)")
_DIGITS = re.compile(rf"([^\W\d_]?)(\d(?:{_PHONE_GAP}\d){{8,}})")
_FOREIGN = re.compile(rf"\+{_PHONE_GAP}\d(?:{_PHONE_GAP}\d){{6,}}")
# Four numbers of which the first is not 0 and none begins with one: no telephone number is
# written so, as those begin with 0, with + or with 886.
_OCTET = r"(?:1\d\d|2[0-4]\d|25[0-5]|[1-9]\d|\d)"
_ADDRESS = re.compile(rf"(?!0){_OCTET}(?:\.{_OCTET}){{3}}")
# Without any of these there is nothing to find: most fields of a log line are such words.
_SUSPECT = re.compile(r"[:=@]|\d(?:\D*\d){6}|\S{32}")


def redact(text: str) -> str:
    """Return a text without what may identify a person or open a door.

    Privacy:
        Identifiers of every kind with a shape are gone, wherever they stand; LINE names and
        opaque numbers only behind a label. A name written in words is not recognised.
    """
    if not text.isascii():
        text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    if not _SUSPECT.search(text):
        return text
    # All look at the same text: what one removes must not hide the half of what another sees.
    spans = sorted(span for find in _FINDERS for span in find(text))
    return _without(text, spans) if spans else text


def redact_fields(fields: Mapping[Any, Any]) -> dict[str, Any]:
    """Return fields as they may be written: redacted, without those that are dropped."""
    return _redact_mapping(fields, 0)


def redact_value(value: object) -> Any:
    """Return one value as it may be written; what is no plain value becomes redacted text."""
    return _redact(value, 0)


@lru_cache(maxsize=1024)
def is_dropped(key: str) -> bool:
    """Report whether a field of this name is left out, whatever it holds."""
    words = _WORD.findall(_CAMEL.sub("_", key).lower())
    return not DROPPED.isdisjoint(words)


def _redact(value: object, depth: int) -> Any:
    if isinstance(value, str):
        return redact(str(value))
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return REMOVED if abs(value) >= _LARGEST_NUMBER else value
    return _redact_structure(value, depth)


def _redact_structure(value: object, depth: int) -> Any:
    match value:
        case bytes() | bytearray() | memoryview():
            return f"[{len(value)} bytes]"
        case _ if depth >= _MAX_DEPTH:
            return REMOVED
        case Mapping():
            return _redact_mapping(value, depth + 1)
        case list() | tuple() | set() | frozenset():
            return [_redact(item, depth + 1) for item in value]
        case _:
            return redact(_described(value))


def _redact_mapping(fields: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    return {
        redact(str(key)): _redact(item, depth)
        for key, item in fields.items()
        if not is_dropped(str(key))
    }


def _described(value: object) -> str:
    """Write any object; one whose own description fails must not take the log line with it."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001  # any object of any library may come here
        return f"<{type(value).__name__}>"


def _secrets(text: str) -> Iterator[tuple[int, int]]:
    """Find keys and tokens; runs of letters alone are paths and the names of modules."""
    yield from (found.span() for found in _HEX.finditer(text))
    for found in _BASE64.finditer(text):
        if all(kind.search(found[0]) for kind in _CLASSES):
            yield found.span()


def _numbers(text: str) -> Iterator[tuple[int, int]]:
    """Find runs of digits, each with the letter at its head, unless it is an IP address."""
    for found in _DIGITS.finditer(text):
        if not _ADDRESS.fullmatch(found[2]):
            yield found.span()
    yield from (found.span() for found in _FOREIGN.finditer(text))
    yield from (found.span() for found in _OLD_RESIDENT.finditer(text))


def _labelled(text: str) -> Iterator[tuple[int, int]]:
    return (found.span(1) for found in _LABELLED.finditer(text))


def _emails(text: str) -> Iterator[tuple[int, int]]:
    return (found.span() for found in _EMAIL.finditer(text)) if "@" in text else iter(())


_FINDERS = (_numbers, _emails, _secrets, _labelled)


def _without(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Return a text with its spans replaced, overlapping ones as one."""
    parts: list[str] = []
    kept = 0  # up to where the text is dealt with
    for first, last in spans:
        if first > kept or not parts:
            parts += [text[kept:first], REMOVED]
        kept = max(kept, last)
    return "".join([*parts, text[kept:]])
