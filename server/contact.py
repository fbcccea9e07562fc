"""Whom to tell of a weakness of this hub: the text of security.txt (RFC 9116).

The contact is the operator's, from `contact` in hub.json.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from compliance.configuration import ConfigError

_CONTACT = re.compile(r"(?:mailto:[!-~]+@|https://|tel:\+)[!-~]{2,200}", re.ASCII)
_DAY_S = 86_400
# Section 2.5.5: less than a year ahead is RECOMMENDED. Made anew for each reader.
_LASTS_DAYS = 180


def check_contact(contact: str) -> None:
    """Refuse a contact that the file cannot name; empty is none.

    Raises:
        ConfigError: not a URI of mail, web or telephone.
    """
    if contact and not _CONTACT.fullmatch(contact):
        raise ConfigError(
            "hub.json: contact must be mailto:NAME@HOST, https://... or tel:+...; correct it"
        )


def security_text(contact: str, now: int) -> str:
    """Write the file, whole days ahead, so that it is the same all day."""
    ends_at = datetime.fromtimestamp((now // _DAY_S + _LASTS_DAYS) * _DAY_S, UTC)
    return (
        f"Contact: {contact}\n"
        f"Expires: {ends_at:%Y-%m-%dT%H:%M:%SZ}\n"
        "Preferred-Languages: zh-Hant, en\n"
    )
