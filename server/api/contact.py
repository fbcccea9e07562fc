"""Whom to tell of a weakness of this hub: /.well-known/security.txt (RFC 9116).

Served without a certificate, since whoever finds a weakness seldom has one. The contact is the
operator's, from `contact` in hub.json; without it there is no such file.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from fastapi import APIRouter, Response

from compliance.configuration import ConfigError
from server.api.documents import refusals
from server.api.errors import NotFoundError
from server.api.parts import Services

_CONTACT = re.compile(r"(?:mailto:[!-~]+@|https://|tel:\+)[!-~]{2,200}", re.ASCII)
_DAY_S = 86_400
# Section 2.5.5: less than a year ahead is RECOMMENDED. Made anew for each reader.
_LASTS_DAYS = 180

router = APIRouter(tags=["operations"])


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


@router.get(
    "/.well-known/security.txt",
    operation_id="securityContact",
    response_class=Response,
    responses={
        200: {
            "description": "The file of RFC 9116.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        **refusals(404),
    },
)
def security_contact(parts: Services) -> Response:
    """Tell whom to write to about a weakness; needs no certificate."""
    if not parts.contact:
        raise NotFoundError("security.txt: this hub names no contact")
    return Response(security_text(parts.contact, parts.clock.now()), media_type="text/plain")
