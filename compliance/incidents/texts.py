"""The texts of an incident file: plain, kept at the owner alone, and naming no person.

They go on to authorities and partners, so that what looks like an identifier of a person is
refused when it is written: national and resident numbers, telephone and account numbers,
e-mail addresses. A person's name cannot be recognised: whoever writes leaves names out.
"""

from __future__ import annotations

import re
import unicodedata

from compliance.agreement.fields import defect, read_text

# Characters: a text and a reason together fit into the private part of an entry.
MAX_TEXT = 1_500
MAX_REASON = 400
_IDENTIFIERS = re.compile(
    r"(?<![A-Z0-9])[A-Z][1289A-D][0-9]{8}(?![0-9])"  # national and resident numbers
    r"|(?<![0-9])(?:\+|00)[1-9][0-9 ()-]{7,18}[0-9]"  # telephone, international
    r"|(?<![0-9])09[0-9]{2}[ -]?[0-9]{3}[ -]?[0-9]{3}(?![0-9])"  # mobile
    r"|(?<![0-9])\(?0[2-8][0-9]?\)?[ -][0-9]{3,4}[ -]?[0-9]{4}(?![0-9])"  # fixed line
    r"|[0-9]{9,}"  # any long number
    r"|(?<![0-9])[0-9]{3}[ -][0-9]{6,16}(?![0-9])"  # bank and account
    r"|(?<![0-9])(?:[0-9]{4}[ -]){3}[0-9]{4}(?![0-9])"  # card
    r"|[^\s@]+@[^\s@]+\.[^\s@]+",  # e-mail
    re.ASCII,
)


def check_text(value: object, where: str, *, most: int = MAX_TEXT) -> str:
    """Return a text that may stand in an incident file.

    Raises:
        MalformedMessageError: empty, too long, not printable, or it holds what looks like an
            identifier; the message does not repeat it.
    """
    text = read_text(value, where, most=most)
    if _IDENTIFIERS.search(unicodedata.normalize("NFKC", text).upper()):
        raise defect(
            where,
            "holds what looks like an identifier of a person or an account",
            "leave it out, and name entries of the log or cases instead",
        )
    return text
