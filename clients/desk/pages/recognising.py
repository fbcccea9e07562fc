"""What kind an identifier is of, by its form, where only one can be meant.

A number that was mistyped must not pass for another kind of which it happens to be a valid one:
the light would be green. So a shape decides, and the rule of its kind is checked afterwards. What
has the shape of several kinds has none, and the person at the desk says which it is.
"""

from __future__ import annotations

import re
import unicodedata

from protocols.identifiers import IdentifierKind

# What a clerk can choose from, in this order.
KINDS = (
    IdentifierKind.TW_PERSON_ID,
    IdentifierKind.PHONE,
    IdentifierKind.BANK_ACCOUNT,
    IdentifierKind.LINE_ID,
    IdentifierKind.EMAIL,
)
_NOISE = re.compile(r"[\s()\-.]+")
_PERSON = re.compile(r"[A-Za-z][A-Da-d0-9][0-9]{6,10}")
_PHONE = re.compile(r"(?:\+[0-9]{7,16}|09[0-9]{8})")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


def recognise(text: str) -> IdentifierKind | None:
    """Return the kind that a text has the shape of; None if it may be several."""
    plain = unicodedata.normalize("NFKC", text).strip()
    if _EMAIL.fullmatch(plain):
        return IdentifierKind.EMAIL
    compact = _NOISE.sub("", plain)
    if _PERSON.fullmatch(compact):
        return IdentifierKind.TW_PERSON_ID
    if _PHONE.fullmatch(compact):
        return IdentifierKind.PHONE
    return None
