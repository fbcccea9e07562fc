"""One canonical form for every identifier of a person, account or line.

Two organisations meet on a person only if both write the same bytes, so everything that
people vary (full-width digits, spaces, hyphens, letter case, a country code) is taken out
here and everything that is not a real identifier is refused. The canonical bytes are

    domain separator || type (u8) || length (u16) || normalised value (UTF-8)

They may enter a keyed function and nothing else: unkeyed, all 5.2 x 10^8 national numbers
can be tried in minutes. No error of this module repeats the value that it refuses.

Source:
    National number: Ministry of the Interior, letter table and weights 1, 9, 8, ..., 1, 1.
    Phone: ITU-T E.164 (11/2010); Taiwan numbering plan. E-mail: RFC 5321, section 4.1.2.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from enum import StrEnum
from typing import ClassVar

from protocols.errors import ProtocolError

DOMAIN = b"lianfang/identifier/v1"
MAX_TEXT = 320  # characters of any accepted input; an e-mail address is the longest

# The letter's two digits, by position in the alphabet.
_CODES = "10 11 12 13 14 15 16 17 34 18 19 20 21 22 35 23 24 25 26 27 28 29 32 30 31 33"
_LETTERS = dict(zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", map(int, _CODES.split()), strict=True))
_LETTER_SUMS = {letter: code // 10 + 9 * (code % 10) for letter, code in _LETTERS.items()}
_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 1, 1)

_NATIONAL = re.compile(r"[A-Z][12][0-9]{8}")
_RESIDENT_NEW = re.compile(r"[A-Z][89][0-9]{8}")
_RESIDENT_OLD = re.compile(r"[A-Z][ABCD][0-9]{8}")
# What follows +886: mobile, VoIP, toll-free, then area codes with their lengths.
_TAIWAN = re.compile(r"9[0-9]{8}|70[0-9]{8}|80[09][0-9]{6}|2[0-9]{8}|4[0-9]{7,8}|[35678][0-9]{7}")
_FOREIGN = re.compile(r"[1-9][0-9]{6,14}")
_ACCOUNT = re.compile(r"([0-9]{3})([0-9]{6,16})")
_LINE = re.compile(r"@?[a-z0-9._-]{1,20}")
_LOCAL = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SEPARATORS = re.compile(r"[\s\-\u2010-\u2015\u2212\u200b-\u200d\ufeff]+")
_INVISIBLE = re.compile(r"[\u200b-\u200d\ufeff]+")


class InvalidIdentifierError(ProtocolError):
    """A value is no identifier of its kind; the text names kind and rule, never the value."""

    code: ClassVar[str] = "invalid_identifier"

    def __init__(self, kind: str, rule: str) -> None:
        super().__init__(f"{kind}: {rule}")
        self.rule = rule


class IdentifierKind(StrEnum):
    """What a column of identifiers holds."""

    TW_NATIONAL_ID = "tw_national_id"
    TW_RESIDENT_NUMBER = "tw_resident_number"
    TW_PERSON_ID = "tw_person_id"  # either of the two above, as most customer tables mix them
    PHONE = "phone"
    BANK_ACCOUNT = "bank_account"
    LINE_ID = "line_id"
    EMAIL = "email"
    OPAQUE = "opaque"  # numbers that an agreement defines itself, taken as they are written


# Types stand in every canonical form: a number is never reused for another meaning.
_TYPES = {
    IdentifierKind.TW_NATIONAL_ID: 1,
    IdentifierKind.TW_RESIDENT_NUMBER: 2,
    IdentifierKind.PHONE: 3,
    IdentifierKind.BANK_ACCOUNT: 4,
    IdentifierKind.LINE_ID: 5,
    IdentifierKind.EMAIL: 6,
    IdentifierKind.OPAQUE: 7,
}


def canonicalize(kind: IdentifierKind, value: str) -> bytes:
    """Return the canonical bytes of an identifier.

    Raises:
        InvalidIdentifierError: the value is not a valid identifier of this kind.
    """
    if len(value) > MAX_TEXT:
        raise InvalidIdentifierError(kind, f"longer than {MAX_TEXT} characters")
    text = value if value.isascii() else unicodedata.normalize("NFKC", value)
    if kind is IdentifierKind.TW_PERSON_ID:
        kind = _person_kind(text)
    normal = _NORMALIZERS[kind](text).encode()
    return b"%b%c%b%b" % (DOMAIN, _TYPES[kind], len(normal).to_bytes(2, "big"), normal)


def national_checksum(letter: str, digits: str) -> int:
    """Return the weighted sum of a letter and nine digits; a valid number gives 0 modulo 10."""
    products = (weight * int(digit) for weight, digit in zip(_WEIGHTS, digits, strict=True))
    return (_LETTER_SUMS[letter] + sum(products)) % 10


def _person_kind(text: str) -> IdentifierKind:
    if _NATIONAL.fullmatch(_compact(text).upper()):
        return IdentifierKind.TW_NATIONAL_ID
    return IdentifierKind.TW_RESIDENT_NUMBER


def _compact(text: str) -> str:
    return _SEPARATORS.sub("", text)


def _national_id(text: str) -> str:
    number = _compact(text).upper()
    if not _NATIONAL.fullmatch(number):
        raise InvalidIdentifierError(
            IdentifierKind.TW_NATIONAL_ID, "expected a letter, 1 or 2, and eight digits"
        )
    if national_checksum(number[0], number[1:]):
        raise InvalidIdentifierError(IdentifierKind.TW_NATIONAL_ID, "check digit does not fit")
    return number


def _resident_number(text: str) -> str:
    number = _compact(text).upper()
    if _RESIDENT_NEW.fullmatch(number):
        digits = number[1:]
    elif _RESIDENT_OLD.fullmatch(number):
        # The second letter counts with the units digit of its code only.
        digits = str(_LETTERS[number[1]] % 10) + number[2:]
    else:
        raise InvalidIdentifierError(
            IdentifierKind.TW_RESIDENT_NUMBER,
            "expected a letter, 8 or 9 or a letter A to D, and eight digits",
        )
    if national_checksum(number[0], digits):
        raise InvalidIdentifierError(IdentifierKind.TW_RESIDENT_NUMBER, "check digit does not fit")
    return number


def _phone(text: str) -> str:
    """Return E.164; a number without country code is Taiwanese and begins with 0."""
    number = re.sub(r"[().]", "", _compact(text))
    for prefix in ("+886", "00886", "886", "0"):
        if number.startswith(prefix):
            # "+886 (0)912" is written often; no Taiwanese number begins with 0 after 886.
            inner = number.removeprefix(prefix)
            inner = inner if prefix == "0" else inner.removeprefix("0")
            if _TAIWAN.fullmatch(inner):
                return f"+886{inner}"
            raise InvalidIdentifierError(
                IdentifierKind.PHONE, "not a Taiwanese mobile, landline, VoIP or toll-free number"
            )
    if number.startswith("+") and _FOREIGN.fullmatch(number[1:]):
        return number
    raise InvalidIdentifierError(
        IdentifierKind.PHONE, "expected a leading 0 or +, without extension or short code"
    )


def _bank_account(text: str) -> str:
    """Return bank code and account, the account filled with zeros to 16 digits.

    Transfers between Taiwanese banks carry the account in 16 digits, so leading zeros
    never tell two accounts of one bank apart.
    """
    found = _ACCOUNT.fullmatch(_compact(text))
    if found is None or found[1] == "000" or not found[2].strip("0"):
        raise InvalidIdentifierError(
            IdentifierKind.BANK_ACCOUNT, "expected a 3-digit bank code and 6 to 16 digits"
        )
    return found[1] + found[2].zfill(16)


def _line_id(text: str) -> str:
    # Hyphens and dots are part of the name here; a leading @ marks an official account.
    name = _INVISIBLE.sub("", text).strip().lower()
    if not _LINE.fullmatch(name):
        raise InvalidIdentifierError(
            IdentifierKind.LINE_ID, "expected 1 to 20 of a-z, 0-9, dot, hyphen, underscore"
        )
    return name


def _email(text: str) -> str:
    """Return the address in lower case; tags and dots of the local part stay.

    RFC 5321 lets the local part depend on case, but no large provider does, and a report
    spelt otherwise than the customer record would be missed.
    """
    local, at, domain = _INVISIBLE.sub("", text).strip().lower().rpartition("@")
    if (
        not at
        or not _LOCAL.fullmatch(local)
        or local[0] == "."
        or local[-1] == "."
        or ".." in local
    ):
        raise InvalidIdentifierError(IdentifierKind.EMAIL, "expected a plain name before the @")
    try:
        name = domain.encode("idna").decode()
    except UnicodeError:
        raise InvalidIdentifierError(IdentifierKind.EMAIL, "domain is not a host name") from None
    labels = name.split(".")
    if len(labels) < 2 or len(name) > 253 or not all(_LABEL.fullmatch(x) for x in labels):  # noqa: PLR2004 a domain has two labels at least
        raise InvalidIdentifierError(IdentifierKind.EMAIL, "domain is not a host name")
    return f"{local}@{name}"


def _opaque(text: str) -> str:
    text = text.strip()
    if not text or not text.isprintable():
        raise InvalidIdentifierError(IdentifierKind.OPAQUE, "expected printable text, not empty")
    return text


_NORMALIZERS: dict[IdentifierKind, Callable[[str], str]] = {
    IdentifierKind.TW_NATIONAL_ID: _national_id,
    IdentifierKind.TW_RESIDENT_NUMBER: _resident_number,
    IdentifierKind.PHONE: _phone,
    IdentifierKind.BANK_ACCOUNT: _bank_account,
    IdentifierKind.LINE_ID: _line_id,
    IdentifierKind.EMAIL: _email,
    IdentifierKind.OPAQUE: _opaque,
}
